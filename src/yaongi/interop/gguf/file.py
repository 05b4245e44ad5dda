"""Writing the file: what it says about itself, then every tensor in its number format."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yaongi.core.errors import ArtifactError
from yaongi.core.files import storage_errors, write_with
from yaongi.interop.gguf.architectures import Architecture
from yaongi.interop.gguf.tensors import Read, Target
from yaongi.interop.gguf.types import ggml_type, library, pack, packed_shape
from yaongi.interop.gguf.vocabulary import Vocabulary


@dataclass(frozen=True)
class Content:
    """Everything in the file but the numbers.

    Attributes:
        settings: key -> value, in order; the type of a value decides how it is written.
        tensors: each with the name of its number format.
    """

    graph: Architecture
    settings: Mapping[str, Any]
    vocabulary: Vocabulary
    tensors: list[tuple[Target, str]]


def write(out: Path, content: Content, read: Read) -> None:
    """Write ``out`` atomically, asking ``read`` for one tensor after the other by our names.

    Raises:
        ArtifactError: ``out`` exists.
        NumericsError: a number that the format cannot hold.
        StorageError: the disk refused; nothing half-written is kept.
    """
    if out.exists():
        raise ArtifactError(
            "{path} exists already; choose another --out or remove it first.", path=out
        )

    def fill(temporary: Path) -> None:
        with _described(temporary, content) as writer:
            stream = writer.fout[0]
            for target, quant in content.tensors:
                writer.write_padding(stream, stream.tell())
                # our own writes: numpy's tofile would not say that the disk is full
                for block in pack(target.source, target.make(read), quant):
                    stream.write(block)
            writer.write_padding(stream, stream.tell())

    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_with(out, fill)


@contextlib.contextmanager
def _described(path: Path, content: Content) -> Generator[Any]:
    """The library's writer, at the place where the numbers begin."""
    writer = library().GGUFWriter(path, content.graph.name)
    for key, value in content.settings.items():
        _put(writer, key, value)
    writer.add_token_list(content.vocabulary.tokens)
    writer.add_token_types(content.vocabulary.types)
    writer.add_token_merges(content.vocabulary.merges)
    for target, quant in content.tensors:
        shape = packed_shape(target, quant)
        size = int(np.prod(shape))
        writer.add_tensor_info(target.name, shape, np.dtype(np.uint8), size, ggml_type(quant))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        yield writer
    finally:
        writer.close()


def _put(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_string(key, value)
