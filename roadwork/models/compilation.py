"""torch.compile on a backbone, in place, for the length of a training run.

``module.compile()`` keeps the names of the weights, where ``torch.compile(module)`` puts
``_orig_mod.`` before each: checkpoints of compiled and plain runs are interchangeable. The answers
are equal up to rounding, not bit for bit.

A graph is made for every image size and for training and evaluation each; the second size of a
batch makes one more, for any size. PyTorch stops compiling a function after eight graphs and goes
on without, so training drops its incomplete last batch, and nothing is compiled but the backbone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterator

import torch
from torch import nn

from roadwork.errors import ConfigError

__all__ = ["compile_backbone", "compiled"]

logger = logging.getLogger(__name__)


def compile_backbone(network: nn.Module, mode: str) -> None:
    """Have a backbone compiled at its next call; ``off`` leaves it as it is.

    Adapters are put on before: a compiled network whose layers change is compiled again.

    Args:
        network: changed in place; its ``state_dict`` stays the same.
        mode: ``off`` or a mode of ``torch.compile``.

    Raises:
        ConfigError: this machine has no compiler for the code that is generated.
    """
    if mode == "off":
        return
    _require_compiler(mode)
    logger.info("torch.compile(mode=%s) on the backbone: the first steps take longer", mode)
    network.compile(mode=mode)


@contextlib.contextmanager
def compiled(network: nn.Module, mode: str) -> Iterator[None]:
    """A backbone that is compiled inside and plain again outside, for merging and for export.

    Raises:
        ConfigError: this machine has no compiler for the code that is generated.
    """
    compile_backbone(network, mode)
    try:
        yield
    finally:
        if mode != "off":
            network._compiled_call_impl = None
            # The limit of graphs counts those of earlier networks of the same class.
            torch.compiler.reset()


def _require_compiler(mode: str) -> None:
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ConfigError(
                f"compute.compile: {mode} needs triton for this CUDA device: install it, or set "
                "compute.compile: off"
            )
    # Of a CUDA build too: triton compiles the launchers of its kernels.
    command = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(shlex.split(command)[0]) is None:
        raise ConfigError(
            f"compute.compile: {mode} needs a C++ compiler, and there is no {command} on the "
            "path: install one, name it in the environment variable CXX, or set "
            "compute.compile: off"
        )
