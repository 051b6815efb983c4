"""Settings of how training is computed, without a say in what is learned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from roadwork.settings.strict import Count, Strict

__all__ = ["CompileMode", "ComputeSettings"]

CompileMode = Literal[
    "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
]


class ComputeSettings(Strict):
    """How training is computed. Two runs that differ here alone learn the same, up to rounding."""

    precision: Literal["auto", "32", "bf16"] = "auto"
    attention: Literal["auto", "math", "sdpa", "fa2", "fa3", "fa4"] = Field(
        default="sdpa",
        description="What computes attention. sdpa: PyTorch's choice among its own; auto: the "
        "newest flash attention that the training machine has, else sdpa.",
    )
    compile: CompileMode = Field(
        default="off", description="Mode of torch.compile on the backbone."
    )
    processes: Count = Field(
        default=1,
        description="Processes that share every batch, one for each GPU; batch sizes must be "
        "multiples of it. torchrun's processes count instead, where it started them.",
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="What several processes share: the batch (ddp), or the weights too (fsdp; not "
        "with the adapters doran_tau and doran_full).",
    )
    accumulate: Count = Field(
        default=1,
        description="Parts in which a process computes its batch, one after another, to save "
        "memory; all but the last are computed a second time in the backward pass, so n parts "
        "cost (n - 1) / n of a forward pass more.",
    )
    checkpoint_every: Count = Field(
        default=25, description="Training steps between two checkpoints."
    )
    view_cache_gigabytes: float = Field(
        default=20.0,
        ge=0,
        description="Local disk, in runs/views, that keeps decoded views of sets larger than "
        "memory; 0: they are decoded in every pass.",
    )

    @field_validator("compile", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        """YAML 1.1 reads a bare ``off`` as false."""
        return "off" if value is False else value
