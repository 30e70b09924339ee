"""The routes of the HTTP API over a real database: what they answer, what they refuse."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from api_client import NIGHTLY, ROOT, Api, api, completed, problem
from planting import planted_site
from prometheus_client.parser import text_string_to_metric_families

from orch import registry
from orch.home import Home
from orch.service import processes
from orch.service.api import sweeps


@pytest.fixture
def here(tmp_path: Path) -> Generator[Api]:
    with api(Home(tmp_path / "home")) as found:
        yield found


# ── sweeps ──────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_is_queued_shown_and_listed_in_the_queue(here: Api) -> None:
    words = {"trials": 4, "space": {"learning_rate": "log(1e-5,1e-2)"}, "priority": 7}
    answer = here.client.post(f"{ROOT}/sweeps", json={"dataset": "digits", **words})
    assert answer.status_code == 202
    made = answer.json()
    assert made["schema_version"] == 1
    assert made["state"] == "queued"
    assert made["job"]["priority"] == 7
    shown = here.client.get(f"{ROOT}/sweeps/{made['id'][:8]}").json()
    assert shown == made
    (waiting,) = here.client.get(f"{ROOT}/queue").json()["queue"]
    assert waiting["sweep"] == made["id"]
    assert (waiting["trials"], waiting["state"]) == (4, "queued")


def test_sweeps_are_listed_page_by_page_newest_first(here: Api) -> None:
    made = [here.queue(name=f"n{number}") for number in range(5)]
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    for _ in range(3):
        page = here.client.get(f"{ROOT}/sweeps", params=query).json()
        found += [each["id"] for each in page["sweeps"]]
        query["before"] = page["next"]
    assert page["next"] is None
    assert len(page["sweeps"]) == 1
    created = {each: here.service.sweep(each).created_at for each in made}
    assert found == sorted(made, key=lambda each: (-_millis(created[each]), each))


def _millis(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def test_a_page_before_a_sweep_that_is_none_is_not_found(here: Api) -> None:
    problem(here.client.get(f"{ROOT}/sweeps", params={"before": "nope"}), 404)


@pytest.mark.parametrize(
    ("since", "count"),
    [
        ("2026-01-01T01:00:00Z", 1),
        ("2026-01-01T02:00:00+01:00", 1),
        ("2025-12-31T20:00:00-05:00", 1),
        ("2026-01-01T01:00:01Z", 0),
        ("2026-01-01T01:00:00.001", 0),
        ("2026-01-01", 1),
    ],
)
def test_since_lists_what_has_changed_whatever_its_offset(
    here: Api, since: str, count: int
) -> None:
    here.add(*completed())
    page = here.client.get(f"{ROOT}/sweeps", params={"since": since}).json()
    assert len(page["sweeps"]) == count


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00", "1e9"])
def test_a_since_that_is_no_instant_is_refused(here: Api, since: str) -> None:
    problem(here.client.get(f"{ROOT}/sweeps", params={"since": since}), 422)


def test_a_sweep_that_waits_can_be_cancelled_and_only_that(here: Api) -> None:
    sweep = here.queue()
    for verb in ("pause", "stop"):
        document = problem(here.client.post(f"{ROOT}/sweeps/{sweep}/{verb}"), 422)
        assert "is not running" in document["detail"]
    answer = here.client.post(f"{ROOT}/sweeps/{sweep}/cancel")
    assert answer.status_code == 200
    assert "was cancelled" in answer.json()["said"]
    shown = here.client.get(f"{ROOT}/sweeps/{sweep}").json()
    assert (shown["state"], shown["job"]["state"]) == ("cancelled", "ended")
    for verb in ("resume", "retry"):
        problem(here.client.post(f"{ROOT}/sweeps/{sweep}/{verb}", json={}), 422)


@pytest.mark.parametrize("verb", ["pause", "stop", "cancel"])
def test_a_sweep_that_runs_is_asked(here: Api, verb: str) -> None:
    sweep, *_ = completed()
    here.add(sweep)
    here.service.sweeps.take(sweep.id, "elsewhere:1:x", 60)
    answer = here.client.post(f"{ROOT}/sweeps/{sweep.id}/{verb}")
    assert answer.status_code == 200, answer.text
    assert here.service.queries.orders(sweep.id).request == verb


def test_a_sweep_that_completed_is_extended_and_then_waits_already(here: Api) -> None:
    sweep, *trials = completed()
    here.add(sweep, *trials)
    problem(here.client.post(f"{ROOT}/sweeps/{sweep.id}/resume", json={}), 422)
    answer = here.client.post(f"{ROOT}/sweeps/{sweep.id}/extend", json={"trials": 2})
    assert "has 5 trials now, and is queued again" in answer.json()["said"]
    answer = here.client.post(f"{ROOT}/sweeps/{sweep.id}/extend", json={"trials": 1})
    assert answer.json()["said"].endswith("has 6 trials now")


def test_a_sweep_that_stopped_is_resumed_once(here: Api) -> None:
    sweep, *trials = completed()

    here.add(replace(sweep, state="stopped"), *trials)
    answer = here.client.post(f"{ROOT}/sweeps/{sweep.id}/resume", json={"priority": -3})
    assert answer.status_code == 202
    assert here.client.get(f"{ROOT}/sweeps/{sweep.id}").json()["job"]["priority"] == -3
    document = problem(here.client.post(f"{ROOT}/sweeps/{sweep.id}/resume", json={}), 422)
    assert "in the queue already" in document["detail"]


def test_failed_trials_are_retried_by_class(here: Api) -> None:

    sweep, *trials = completed()
    failed = replace(trials[0], state="failed", score=None, failure_kind="out_of_memory")
    here.add(sweep, failed, *trials[1:])
    url = f"{ROOT}/sweeps/{sweep.id}/retry"
    assert "no class of failures" in problem(_retry(here, url, "no-such"), 422)["detail"]
    problem(_retry(here, url, "timeout"), 404)
    answer = here.client.post(url, json={})
    assert answer.status_code == 202, answer.text
    assert answer.json()["said"].startswith("1 trial is queued again")


def _retry(here: Api, url: str, kind: str) -> Any:
    return here.client.post(url, json={"classes": [kind]})


def test_a_log_is_read_from_a_byte_on(here: Api) -> None:
    sweep = here.queue()
    problem(here.client.get(f"{ROOT}/sweeps/{sweep}/log"), 404)
    file = processes.log(here.service.home, sweep)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"trial 1\ntrial 2\n\xff")  # what is no text is shown as such
    whole = here.client.get(f"{ROOT}/sweeps/{sweep}/log").json()
    assert whole["text"] == "trial 1\ntrial 2\n\ufffd"
    rest = here.client.get(f"{ROOT}/sweeps/{sweep}/log", params={"start": 8}).json()
    assert (rest["text"], rest["start"], rest["end"]) == ("trial 2\n\ufffd", 8, 17)
    far = here.client.get(f"{ROOT}/sweeps/{sweep}/log", params={"start": 2**50}).json()
    assert (far["text"], far["end"]) == ("", 2**50)
    problem(here.client.get(f"{ROOT}/sweeps/{sweep}/log", params={"start": 2**63}), 422)


def test_a_character_that_is_half_written_is_read_once_it_is_whole(here: Api) -> None:
    sweep = here.queue()
    file = processes.log(here.service.home, sweep)
    file.parent.mkdir(parents=True)
    file.write_bytes("0.5 ±".encode()[:-1])
    url = f"{ROOT}/sweeps/{sweep}/log"
    begun = here.client.get(url).json()
    assert (begun["text"], begun["end"]) == ("0.5 ", 4)
    file.write_bytes("0.5 ± 0.1".encode())
    rest = here.client.get(url, params={"start": begun["end"]}).json()
    assert (rest["text"], rest["end"]) == ("± 0.1", 10)


def test_events_of_a_sweep_end_when_it_has_ended(
    here: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "LOOK_SECONDS", 0.05)
    sweep = here.queue()
    seen = iter([lambda: None, lambda: here.service.sweeps.request(sweep, "cancel", "now", None)])
    told = sweeps._progress

    def progress(service: Any, identity: str) -> dict[str, Any]:
        next(seen, lambda: None)()
        return told(service, identity)

    monkeypatch.setattr(sweeps, "_progress", progress)
    answer = here.client.get(f"{ROOT}/sweeps/{sweep[:6]}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    states = [each["state"] for each in _events(answer.text)]
    assert states == ["queued", "cancelled"]


def test_events_of_a_sweep_that_ended_before_are_one(here: Api) -> None:
    sweep, *trials = completed()
    here.add(sweep, *trials)
    (event,) = _events(here.client.get(f"{ROOT}/sweeps/{sweep.id}/events").text)
    assert (event["state"], event["best"]["score"]) == ("completed", 0.9)
    problem(here.client.get(f"{ROOT}/sweeps/nope/events"), 404)


def _events(text: str) -> list[dict[str, Any]]:
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("event: ")]
    return [json.loads(block[1].removeprefix("data: ")) for block in blocks]


def test_an_id_that_fits_several_sweeps_is_a_conflict(here: Api) -> None:
    here.add(*completed("aa0000000001"))
    here.add(*completed("ab0000000001"))
    assert "several sweeps" in problem(here.client.get(f"{ROOT}/sweeps/a"), 409)["detail"]
    problem(here.client.get(f"{ROOT}/sweeps/c"), 404)


# ── trials, the leaderboard, plugins ────────────────────────────────────────────────────────


def test_trials_are_listed_and_shown(here: Api) -> None:
    sweep, *trials = completed()
    here.add(sweep, *trials)
    listed = here.client.get(f"{ROOT}/trials", params={"sweep": sweep.id[:6]}).json()
    assert [each["score"] for each in listed["trials"]] == [0.5, 0.9, 0.7]
    shown = here.client.get(f"{ROOT}/trials/{trials[1].id}").json()
    assert (shown["score"], shown["epochs"]) == (0.9, [])
    problem(here.client.get(f"{ROOT}/trials"), 422)
    problem(here.client.get(f"{ROOT}/trials", params={"sweep": ""}), 422)
    problem(here.client.get(f"{ROOT}/trials/nope"), 404)


def test_the_leaderboard_has_the_best_first(here: Api) -> None:
    here.add(*completed())
    found = here.client.get(f"{ROOT}/leaderboard", params={"dataset": "digits", "top": 2}).json()
    assert [(each["rank"], each["score"]) for each in found["rows"]] == [(1, 0.9), (2, 0.7)]
    none = here.client.get(f"{ROOT}/leaderboard", params={"dataset": "cifar10"}).json()
    assert none["rows"] == []
    problem(here.client.get(f"{ROOT}/leaderboard", params={"top": 0}), 422)


def test_plugins_are_listed(here: Api) -> None:
    strategies = here.client.get(f"{ROOT}/strategies").json()["strategies"]
    assert "fine-tune" in [each["name"] for each in strategies]
    datasets = here.client.get(f"{ROOT}/datasets").json()["datasets"]
    assert "digits" in [each["name"] for each in datasets]
    plugins = here.client.get(f"{ROOT}/plugins").json()
    assert plugins["strategies"] == strategies
    assert {each["name"] for each in plugins["datasets"]} == {each["name"] for each in datasets}
    assert {"backbones", "galleries", "kinds"} <= plugins.keys()


def test_a_plugin_that_is_blocked_is_listed_with_the_reason(
    here: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with planted_site(tmp_path / "site", monkeypatch) as site:
        site.plant("odd", "import os; os._exit(3); Plugin = 0", registry.STRATEGIES)
        found = here.client.get(f"{ROOT}/strategies").json()["strategies"]
        states = {each["name"]: (each["state"], each["why"]) for each in found}
        why = "importing it ends the process (exit code 3)"
        assert states["odd"] == ("blocked", why)
        assert states["fine-tune"] == ("ready", None)
        assert here.client.get(f"{ROOT}/plugins").json()["strategies"] == found


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ({"dataset": "digit"}, 404, "did you mean digits"),
        ({"strategy": "fine-tun"}, 404, "did you mean fine-tune"),
        ({"backbone": "vgg-min"}, 404, "did you mean vgg-mini"),
        ({"color": "red"}, 422, "color"),
        ({"warm_start": "abc"}, 422, "warm_start"),
        ({"trials": 0}, 422, "trials"),
        ({"trials": "many"}, 422, "trials"),
        ({"space": {"learning_rate": "log(0,1)"}}, 422, "learning_rate"),
        ({"sampler": "magic"}, 422, "sampler"),
        ({"metric": "f1"}, 422, "metric"),
        *[
            ({key: value}, 422, key)
            for key in ("dataset", "strategy", "backbone")
            for value in ("../etc", "/etc/passwd", "http://x/y", "a.b:c", "a\\b", "~", "")
        ],
        ({"dataset": "os.system"}, 404, "no dataset"),
    ],
)
def test_words_that_make_no_sense_are_refused_and_queue_nothing(
    here: Api, words: dict[str, Any], status: int, says: str
) -> None:
    body = {"dataset": "digits", **words}
    answer = here.client.post(f"{ROOT}/sweeps", json=body)
    assert says in problem(answer, status)["detail"]
    assert here.client.get(f"{ROOT}/sweeps").json()["sweeps"] == []


# ── schedules ───────────────────────────────────────────────────────────────────────────────


def test_a_schedule_lives_from_add_to_remove(here: Api) -> None:
    client, one = here.client, f"{ROOT}/schedules/nightly"
    made = client.post(f"{ROOT}/schedules", json=NIGHTLY)
    assert made.status_code == 201
    assert made.json()["next_at"]
    problem(client.post(f"{ROOT}/schedules", json=NIGHTLY), 409)
    assert [each["name"] for each in client.get(f"{ROOT}/schedules").json()["schedules"]] == [
        "nightly"
    ]
    assert client.get(f"{ROOT}/schedules/{made.json()['id']}").json()["name"] == "nightly"
    assert len(client.get(f"{one}/next", params={"count": 7}).json()["next"]) == 7
    assert client.post(f"{one}/pause").json()["state"] == "paused"
    problem(client.post(f"{one}/pause"), 422)
    assert client.post(f"{one}/resume").json()["state"] == "active"
    fired = client.post(f"{one}/run-now")
    assert fired.status_code == 202
    assert client.get(f"{ROOT}/sweeps/{fired.json()['sweep']}").json()["name"] == "nightly"
    assert client.get(one).json()["fires"][0]["reason"] == "by hand"
    assert client.delete(one).json()["said"].endswith("its sweeps stay")
    problem(client.get(one), 404)
    assert client.get(f"{ROOT}/sweeps/{fired.json()['sweep']}").status_code == 200


def test_the_history_of_a_schedule_is_read_page_by_page(here: Api) -> None:
    body = {**NIGHTLY, "overlap": "queue"}
    assert here.client.post(f"{ROOT}/schedules", json=body).status_code == 201
    fired: list[str] = []
    while len(fired) < 3:  # two in one millisecond would be one
        found = here.client.post(f"{ROOT}/schedules/nightly/run-now").json()
        fired += [found["due_at"]] if found["due_at"] not in fired else []
    page = here.client.get(f"{ROOT}/schedules/nightly/history", params={"limit": 2}).json()
    assert [each["due_at"] for each in page["fires"]] == fired[:0:-1]
    query = {"limit": 2, "before": page["next"]}
    rest = here.client.get(f"{ROOT}/schedules/nightly/history", params=query).json()
    assert [each["due_at"] for each in rest["fires"]] == fired[:1]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"cron": "0 25 * * *"}, 422),
        ({"cron": "0 0 30 2 *"}, 422),
        ({"cron": "@reboot"}, 422),
        ({"cron": "\u0660 2 * * *"}, 422),
        ({"timezone": "Europe/Berli"}, 422),
        ({"timezone": "../../etc/passwd"}, 422),
        ({"name": "a/b"}, 422),
        ({"until": "2001-01-01"}, 422),
        ({"until": "9999-12-31T23:59:59-14:00"}, 422),
        ({"until": "soon"}, 422),
        ({"overlap": "never"}, 422),
        ({"window": -1}, 422),
        ({"sweep": {"dataset": "digit"}}, 404),
        ({"sweep": {"dataset": "digits", "priority": 1}}, 422),
        ({"command": "rm -rf"}, 422),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(
    here: Api, changes: dict[str, Any], status: int
) -> None:
    problem(here.client.post(f"{ROOT}/schedules", json={**NIGHTLY, **changes}), status)
    assert here.client.get(f"{ROOT}/schedules").json()["schedules"] == []


# ── probes, metrics, the document ───────────────────────────────────────────────────────────


def test_metrics_are_as_prometheus_reads_them(here: Api) -> None:
    here.add(*completed())
    here.queue()
    assert here.client.post(f"{ROOT}/schedules", json=NIGHTLY).status_code == 201
    here.client.post(f"{ROOT}/schedules/nightly/run-now")
    answer = here.client.get("/metrics")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert answer.headers["content-type"].startswith("text/plain")
    assert found["orch_trials", "completed"] == 3
    assert found["orch_jobs", "queued"] == 2
    assert found["orch_jobs", "running"] == 0
    assert found["orch_fire_late_seconds", "nightly"] == 0
    assert found["orch_store_bytes",] == 0


def test_the_openapi_document_names_all_routes(here: Api) -> None:
    document = here.client.get(f"{ROOT}/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert f"{ROOT}/schedules/{{schedule}}/run-now" in document["paths"]
    assert here.client.get("/docs").status_code == 404
