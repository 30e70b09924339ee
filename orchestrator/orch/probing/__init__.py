"""What is known of plugins without importing one into this process.

A plugin is a stranger's code: importing it may raise, exit, hang, print or crash. So its file is
read but not run (`files`), its facts are asked for in a process of their own (`children`,
`child`), and both what it said and why it is blocked are kept in the home folder until its
distribution or its file changes (`memory`).
"""

from orch.probing.asking import PATIENCE as PATIENCE
from orch.probing.asking import Answers as Answers
from orch.probing.asking import backbones as backbones
from orch.probing.asking import datasets as datasets
from orch.probing.asking import facts as facts
from orch.probing.asking import strategies as strategies
from orch.probing.states import State as State
from orch.probing.states import seen as seen
from orch.probing.states import states as states
