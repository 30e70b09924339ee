"""What a network is made of: whether orch can train it, its layers, and where it may be cut."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orch.contracts import BackboneFacts, LayerFacts
from orch.errors import PluginError

RANDOM_STATE = "seed_generator_state"  # how the paths of Keras's states of random numbers end


def check(name: str, network: Any, size: tuple[int, int]) -> None:
    """Refuse what a backbone plugin built where it cannot be cut, frozen and kept.

    Raises:
        PluginError: it is no functional model, has not one input and one output of the shapes
            that the contract asks for, or layers or weights that cannot be told apart.
    """
    problem = _problem(network, size)
    if problem:
        raise PluginError(
            f"the backbone {name!r} built {problem}",
            "nothing was started; what a backbone is, is in docs/backbones.md",
        )


def _problem(network: Any, size: tuple[int, int]) -> str:
    import keras

    if not isinstance(network, keras.Model) or isinstance(network, keras.Sequential):
        return f"a {type(network).__name__}, not a functional keras.Model(inputs, outputs)"
    if not getattr(network, "operations", None):
        return f"a {type(network).__name__} that is not functional: keras.Model(inputs, outputs)"
    problem = _wrong_ends(network, size) or _ambiguous(network)
    if not problem and output(network.layers[-1]) is not network.output:
        problem = "a model whose output is not that of its last layer; end it in one"
    return problem


def _wrong_ends(network: Any, size: tuple[int, int]) -> str:
    import keras

    ends: list[Any] = [network.input, network.output]
    if not all(isinstance(end, keras.KerasTensor) for end in ends):
        inputs, outputs = len(network.inputs), len(network.outputs)
        return f"a model of {inputs} inputs and {outputs} outputs, not of one tensor each"
    if tuple(ends[0].shape) != (None, *size, 3):
        return f"a model that reads {tuple(ends[0].shape)}, not {(None, *size, 3)}"
    shape = tuple(ends[1].shape)
    if len(shape) != 4 or None in shape[1:]:
        return f"a model that ends as {shape}, not as (n, height, width, channels)"
    return ""


def _ambiguous(network: Any) -> str:
    """What cannot be told apart: a layer that is called twice, weights of one name."""
    for layer in network.layers:
        calls = layer._inbound_nodes
        if len(calls) > 1:
            return f"a model in which the layer {layer.name!r} is called more than once"
        if len(calls[0].output_tensors) > 1:
            return f"a model in which the layer {layer.name!r} returns several tensors"
    paths = Counter(weight.path for weight in network.weights)
    twice = [path for path, count in paths.items() if count > 1]
    return f"a model with several weights called {twice[0]!r}" if twice else ""


def inspect(name: str, size: int, minimum: int, network: Any) -> BackboneFacts:
    """Read the facts of a functional `keras.Model`."""
    layers = tuple(
        LayerFacts(layer.name, type(layer).__name__, layer.count_params(), _is_random(layer))
        for layer in network.layers
    )
    bare = BackboneFacts(name, size, minimum, layers, (), ())
    ends = {end + 1 for end in separators(network)}
    cuts = tuple(sorted({0} | {end for end in ends if bare.canonical(end) == end}))
    return BackboneFacts(name, size, minimum, layers, cuts, _stages(network, layers, cuts))


def output(layer: Any) -> Any:
    """The symbolic tensor that a layer returns in the network it was built into.

    A model inside a network has another one as its `output`: that of its own graph. Later calls
    are those of models that were cut out of the network.
    """
    (returned,) = layer._inbound_nodes[0].output_tensors
    return returned


def _is_random(layer: Any) -> bool:
    return any(variable.path.endswith(RANDOM_STATE) for variable in layer.variables)


def separators(network: Any) -> list[int]:
    """The indices of layers whose single output tensor separates what is before from after.

    Every path from the input to a later layer runs through the output of such a layer; what is
    computed between layers by operations that are none (`a + b`, `keras.ops`) counts too.
    """
    index = {id(each): position for position, each in enumerate(network.operations)}
    position_of_layer = {id(layer): number for number, layer in enumerate(network.layers)}
    found: list[int] = []
    reach = 0  # the last operation that reads the output of any earlier one
    for position, operation in enumerate(network.operations):
        if reach <= position and id(operation) in position_of_layer:
            found.append(position_of_layer[id(operation)])
        readers = [
            index[id(node.operation)]
            for node in operation._outbound_nodes
            if id(node.operation) in index
        ]
        reach = max([reach, *readers])
    return found


def _stages(network: Any, layers: tuple[LayerFacts, ...], cuts: tuple[int, ...]) -> tuple[int, ...]:
    """The last cut at each image size, taken before the parameter-free layers that follow."""
    last: dict[int, int] = {}
    for cut in cuts[1:]:
        weighted = max(end for end in range(cut) if layers[end].parameters)
        last[int(output(network.layers[weighted]).shape[1])] = cut
    return (0, *sorted(last.values()))
