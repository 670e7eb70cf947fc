"""The example texts: sentences from the documentation strings of Python's standard library, by topic.

    python3.12 export/examples/sentences.py

Documentation strings are prose that people wrote, under the PSF licence, and every module has its subject. Only whole
sentences without code, markup or names of variables are taken, each once. Half of each topic becomes the reference, the
other half stands for a perfect model. Needs nothing but the standard library; another version of Python gives other
sentences.
"""

from __future__ import annotations

import ast
import inspect
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

OUTPUT = Path(__file__).parents[2] / "genmetrics_rt" / "examples" / "sentences.jsonl"
PER_TOPIC = 160
TOPICS = {
    "windows and drawing": ("tkinter", "turtle"),
    "mail": ("email", "mailbox", "smtplib", "imaplib", "poplib", "mimetypes", "nntplib"),
    "tasks and threads": ("asyncio", "threading", "multiprocessing", "concurrent", "queue", "sched"),
    "numbers": ("_pydecimal", "statistics", "random", "fractions", "numbers", "colorsys", "heapq", "bisect"),
    "tests and debugging": ("unittest", "pdb", "bdb", "doctest", "traceback", "trace", "cProfile"),
    "web and network": (
        "http", "urllib", "xmlrpc", "ftplib", "socketserver", "wsgiref", "telnetlib", "socket", "ipaddress", "ssl",
    ),
    "files and archives": (
        "tarfile", "zipfile", "shutil", "pathlib", "tempfile", "os", "bz2", "gzip", "lzma", "fileinput", "_pyio",
    ),
    "logging": ("logging",),
}  # fmt: skip
_MARKUP = re.compile(r">>>|^\s*[-*=~+|]|::|^ {2,}", re.MULTILINE)
_PROSE = re.compile(r"[A-Z][A-Za-z0-9 ,;:'\-]*\.")
_CODE = re.compile(r"\b[A-Za-z]+[A-Z][a-z]*\b|[a-z]\.[a-z]|\d{4,}")


SECTION = f"""
# Example: sentences

Written by `python3.12 export/examples/sentences.py` (CPython 3.12.1).

**Data.** {len(TOPICS) * PER_TOPIC:,} English sentences from the documentation strings of Python's standard library,
{PER_TOPIC} for each of {len(TOPICS)} topics: {", ".join(TOPICS)}. Licence: Python Software Foundation License Version 2
(copyright © 2001 Python Software Foundation; all rights reserved). Only whole sentences without code or markup were
taken, unchanged, each once.

| file | what |
|---|---|
| `sentences.jsonl` | `text`, `topic`, `part`: "reference" is behind the name `sentences`, "other" a perfect model's |
"""


def with_sentences(record: str) -> str:
    """The README of the examples with the section on the sentences at its end."""
    return record.split(SECTION.lstrip().split("\n", 1)[0])[0].rstrip() + "\n" + SECTION


def main() -> None:
    """Write ``sentences.jsonl``: text, topic, and whether it belongs to the reference; and say so in the README."""
    stream = random.Random(0)
    records: list[dict[str, str]] = []
    for topic, modules in TOPICS.items():
        taken = {record["text"] for record in records}  # what several modules say stands under the first topic
        chosen = stream.sample(sorted(sentences_of(modules) - taken), PER_TOPIC)
        for row, text in enumerate(chosen):
            records.append({"text": text, "topic": topic, "part": "reference" if row % 2 else "other"})
    stream.shuffle(records)
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    OUTPUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    readme = OUTPUT.with_name("README.md")
    readme.write_text(with_sentences(readme.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{OUTPUT}: {len(records):,} sentences")


def sentences_of(modules: tuple[str, ...]) -> set[str]:
    """Every sentence of prose in the documentation strings of some modules and packages."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = [
        file
        for module in modules
        for file in (library / f"{module}.py", *(library / module).rglob("*.py"))
        if file.is_file() and not {"test", "tests"} & set(file.parts)
    ]
    return {sentence for file in files for text in documentation(file) for sentence in prose_of(text)}


def documentation(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def prose_of(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if _MARKUP.search(paragraph):
            continue
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
            if 7 <= len(sentence.split()) <= 32 and _PROSE.fullmatch(sentence) and not _CODE.search(sentence):
                yield sentence


if __name__ == "__main__":
    main()
