"""ONNX Runtime: the network exported to ONNX and run by its CPU kernels in fp32.

Where bf16 is not native it can be the fastest of all. Install with ``pip install headstart[onnx]``.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from headstart.backends.base import Backend, Rows, Runner, Variant, is_convolutional
from headstart.backends.trace import Graphs, Traceable, named
from headstart.sources.base import Source
from headstart.types import Batch


class OnnxRuntime(Backend):
    """A graph exported by torch and run by ONNX Runtime."""

    name: ClassVar[str] = "onnxruntime"
    requires: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")
    extra: ClassVar[str] = "onnx"
    setup: ClassVar[float] = 4.0

    def gain(self, source: Source, native: bool) -> float:
        """In fp32 against torch in bf16, where that is native: convolutions 1.3, transformers 0.3; else 1.3."""
        return 1.3 if is_convolutional(source) or not native else 0.3

    def variants(self, source: Source, device: torch.device, precisions: Sequence[str], cores: int) -> list[Variant]:
        """fp32 on CPUs, one stream a core."""
        return [Variant(self.name, "fp32", cores)] if device.type == "cpu" and "fp32" in precisions else []

    def open(self, source: Source, device: torch.device, variant: Variant, outputs: Sequence[str]) -> Runner:
        """A session a stream, each with one thread."""
        import onnxruntime

        lock = threading.Lock()

        def make(module: Traceable, example: tuple[torch.Tensor, ...]) -> bytes:
            return export(module, example)

        graphs = Graphs(source, outputs, make)

        def run(stream: dict[int, Any], batch: Batch) -> dict[str, Rows]:
            with lock:
                graph = graphs.of(batch)
            if id(graph) not in stream:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                options.log_severity_level = 3
                stream[id(graph)] = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            session = stream[id(graph)]
            inputs = {name: tensor.contiguous().numpy() for name, tensor in batch.inputs.items()}
            known = {node.name for node in session.get_inputs()}
            return named(session.run(None, {k: v for k, v in inputs.items() if k in known}), outputs)

        return Runner([{} for _ in range(variant.streams)], run)


def export(module: Traceable, example: tuple[torch.Tensor, ...]) -> bytes:
    """The ONNX file of a traceable module, every axis of its inputs free."""
    names = list(module.inputs)
    axes = {name: {at: f"{name}_{at}" for at in range(tensor.ndim)} for name, tensor in zip(names, example)}
    if len(names) == 1 and example[0].ndim == 4:
        axes = {names[0]: {0: "batch"}}  # networks for images fold their size into the graph
    buffer = io.BytesIO()
    torch.onnx.export(module, example, buffer, input_names=names, dynamic_axes=axes, opset_version=17, dynamo=False)  # type: ignore[arg-type]
    return buffer.getvalue()
