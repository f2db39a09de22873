"""Networks as files that a browser runs: ONNX, with weights of 16 bits, packed."""

import contextlib
import gzip
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SMALL = 64  # numbers; a tensor of fewer is not worth a cast


def write(network: nn.Module, at: list[float], path: Path) -> None:
    """Write a network of networks as gzipped ONNX, from "at" to "picture". at: an example."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        example = (torch.tensor(at),)
        program: Any = torch.onnx.export(
            network.eval(),
            example,
            input_names=["at"],
            output_names=["picture"],
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    halve(model.graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(model.SerializeToString(), mtime=0))


def halve(graph: Any) -> None:
    """Keep the weights of an ONNX graph that 16 bits hold exactly in 16 bits, cast where used.

    All that is stored with the workbook is such.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if (half.astype(np.float32) == values).all():
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.16"))
            casts.append(helper.make_node("Cast", [f"{name}.16"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
