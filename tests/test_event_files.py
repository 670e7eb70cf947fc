"""Event files of TensorBoard: written by hand byte by byte, by torch where tensorboard is installed, and damaged."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.event_files import EventLog, crc32c, is_event_log, masked_crc32c, read_events

NAME = "events.out.tfevents.1700000000.host"


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, content: bytes | int | float) -> bytes:
    """A varint, bytes with their length, or a float of 32 bits."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    if isinstance(content, float):
        return varint(number << 3 | 5) + struct.pack("<f", content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step: int, *values: bytes) -> bytes:
    wall_time = varint(1 << 3 | 1) + struct.pack("<d", 1.7e9)
    return wall_time + field(2, step) + field(5, b"".join(field(1, value) for value in values))


def scalar(tag: str, value: float) -> bytes:
    return field(1, tag.encode()) + field(2, value)


def tensor(tag: str, kind: int, shape: tuple[int, ...], payload: bytes) -> bytes:
    dims = b"".join(field(2, field(1, size)) for size in shape)
    return field(1, tag.encode()) + field(8, field(1, kind) + field(2, dims) + payload)


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


VERSION = record(varint(1 << 3 | 1) + struct.pack("<d", 1.7e9) + field(3, b"brain.Event:2"))


def write(folder: Path, *events: bytes, name: str = NAME, tail: bytes = b"") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(VERSION + b"".join(map(record, events)) + tail)
    return path


def plain(log: EventLog) -> dict[str, dict[int, list[float]]]:
    return {tag: {step: list(values) for step, values in own.items()} for tag, own in log.series.items()}


def test_the_checksum_has_its_published_value() -> None:
    """RFC 3720, appendix B.4: 32 zeros, 32 ones, 0 to 31; and the check value of CRC-32C."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_scalars_by_hand(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        event(0, scalar("Loss/D", 1.5), scalar("Loss/G", 0.25)),
        event(10, scalar("Loss/D", 1.25)),
        event(-3, scalar("Loss/D", 7.0)),
    )
    log = read_events(path)
    assert plain(log) == {"Loss/D": {0: [1.5], 10: [1.25], -3: [7.0]}, "Loss/G": {0: [0.25]}}
    assert log.notes == ()
    assert is_event_log(path) and is_event_log(tmp_path) and not is_event_log(tmp_path / "nothing")


def test_tensors_by_hand(tmp_path: Path) -> None:
    """TensorFlow 2 writes scalars as tensors: content in bytes, single values, packed or not, equal ones once."""
    halves = np.array([1.5, -2.0], "<f2")
    packed = field(13, b"".join(varint(int(bits)) for bits in halves.view("<u2")))
    values = [
        tensor("content", 1, (2,), field(4, np.array([1.5, 2.5], "<f4").tobytes())),
        tensor("scalar", 1, (), field(5, 3.5)),
        tensor("packed", 1, (3,), field(5, np.array([1, 2, 3], "<f4").tobytes())),
        tensor("double", 2, (1,), field(6, struct.pack("<d", 0.1))),
        tensor("whole", 3, (2,), field(7, varint(4) + varint(-5))),
        tensor("long", 9, (), field(10, -7)),
        tensor("half", 19, (2,), packed),
        tensor("bfloat", 14, (1,), field(13, 0x3FC0)),
        tensor("repeated", 1, (4,), field(5, 9.0)),
        tensor("words", 7, (), field(8, b"hello")),
        field(1, b"histogram") + field(5, b"\x00" * 50),
    ]
    series = {tag: own[4] for tag, own in plain(read_events(write(tmp_path, event(4, *values)))).items()}
    assert series == {
        "content": [1.5, 2.5], "scalar": [3.5], "packed": [1.0, 2.0, 3.0], "double": [0.1], "whole": [4.0, -5.0],
        "long": [-7.0], "half": [1.5, -2.0], "bfloat": [1.5], "repeated": [9.0] * 4,
    }  # fmt: skip


def test_a_folder_is_one_log(tmp_path: Path) -> None:
    """As torch's add_scalars writes: a folder for each curve. A restart counts where it repeats a step."""
    write(tmp_path, event(0, scalar("a", 1.0)), event(1, scalar("a", 2.0)))
    write(tmp_path, event(1, scalar("a", 3.0)), event(2, scalar("a", 4.0)), name=f"{NAME[:-9]}1.host")
    write(tmp_path / "loss_D", event(0, scalar("loss", 5.0)))
    (tmp_path / "notes.txt").write_text("no event file")
    assert plain(read_events(tmp_path)) == {"a": {0: [1.0], 1: [3.0], 2: [4.0]}, "loss_D/loss": {0: [5.0]}}


def test_what_is_damaged_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    events = [event(step, scalar("a", float(step))) for step in range(4)]
    whole = VERSION + b"".join(map(record, events))
    size = len(record(events[0]))
    for cut in (1, 8, 13, size - 1):
        path = write(tmp_path, *events[:3], tail=record(events[3])[:cut])
        log = read_events(path)
        assert list(log.series["a"]) == [0, 1, 2] and log.notes == (f"{NAME}: the last record is cut off",)
    flipped = bytearray(whole)
    flipped[len(VERSION) + size + 20] ^= 1  # inside the second event
    path.write_bytes(flipped)
    log = read_events(path)
    assert list(log.series["a"]) == [0, 2, 3] and log.notes == (f"{NAME}: 1 damaged record left out",)
    flipped = bytearray(whole)
    flipped[len(VERSION) + 2 * size] ^= 1  # the length of the third
    path.write_bytes(flipped)
    log = read_events(path)
    assert list(log.series["a"]) == [0, 1] and "damaged after 3 records" in log.notes[0]


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    events = [event(step, scalar("a", float(step))) for step in range(2)]
    whole = VERSION + b"".join(map(record, events))
    right = {0: [0.0], 1: [1.0]}
    for place in range(len(VERSION), len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        path = tmp_path / NAME
        path.write_bytes(flipped)
        log = read_events(path)
        assert log.notes and plain(log).get("a", {}).items() <= right.items(), place


def test_what_is_no_log(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"step,real_logit\n1,2\n")
    with pytest.raises(gm.UnreadableInput, match="no event file"):
        read_events(tmp_path / NAME)
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(gm.MissingInput):
            read_events(place)


def test_a_half_that_has_too_many_bits_is_damage(tmp_path: Path) -> None:
    payload = field(13, 70_000)
    log = read_events(write(tmp_path, event(0, tensor("bad", 19, (1,), payload)), event(1, scalar("good", 1.0))))
    assert plain(log) == {"good": {1: [1.0]}}
    assert log.notes == (f"{NAME}: 1 damaged record left out",)


def test_a_small_file_cannot_take_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is repeated is written once: here 40 bytes stand for a thousand."""
    monkeypatch.setattr("genmetrics_rt.event_files._MAX_KEPT", 3_500)
    repeated = tensor("t", 1, (1_000,), field(5, struct.pack("<f", 1.0)))
    assert len(read_events(write(tmp_path, *(event(step, repeated) for step in range(3)))).series["t"]) == 3
    for events in ([event(step, repeated) for step in range(4)], [event(0, *[repeated] * 4)]):
        with pytest.raises(gm.UnreadableInput, match="more than 3,500 numbers"):
            read_events(write(tmp_path, *events))
    write(tmp_path / "run", *(event(step, repeated) for step in range(2)))
    write(tmp_path / "run", *(event(step, repeated) for step in range(2)), name=NAME + ".2")
    with pytest.raises(gm.UnreadableInput, match="more than 3,500 numbers"):
        read_events(tmp_path / "run")


def test_numbers_take_eight_bytes_each(tmp_path: Path) -> None:
    """As lists they took four times as much."""
    tensors = field(4, np.arange(100_000, dtype="<f4").tobytes())
    path = write(tmp_path, *(event(step, tensor("t", 1, (100_000,), tensors)) for step in range(20)))
    tracemalloc.start()
    try:
        log = read_events(path)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert list(log.series["t"][19][-2:]) == [99_998.0, 99_999.0]
    size = path.stat().st_size
    assert kept < 2.1 * size and peak < 3.5 * size


def test_torch_writes_what_is_read(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(5):
            writer.add_scalar("Loss/D", 1 / (step + 1), step)
            writer.add_scalar("new", step / 2, step, new_style=True)
            writer.add_scalars("both", {"G": step, "D": -step}, step)
            writer.add_histogram("weights", np.arange(50.0), step)
            writer.add_tensor("logits", _torch_tensor(step), step)
    log = read_events(tmp_path)
    series = plain(log)
    assert log.notes == ()
    loss = {step: [float(np.float32(1 / (step + 1)))] for step in range(5)}
    assert series["Loss/D"] == loss
    assert series["new"] == {step: [step / 2] for step in range(5)}
    assert series["both_G/both"] == {step: [float(step)] for step in range(5)}
    assert series["logits"] == {step: [float(step), -1.5] for step in range(5)}
    assert "weights" not in series


def _torch_tensor(step: int):
    import torch

    return torch.tensor([float(step), -1.5])


# As a training log


def log_of(tmp_path: Path, *events: bytes, **options):
    return gm.read_training_log(write(tmp_path, *events).parent, **options)


def test_tensors_of_logits_are_a_training_log(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = {step: (rng.normal(1, 1, 20), rng.normal(-1, 1, 20)) for step in range(6)}

    def made(step: int) -> bytes:
        real, fake = (field(4, side.astype("<f8").tobytes()) for side in logits[step])
        return event(step, tensor("logits/real", 2, (20,), real), tensor("logits/fake", 2, (20,), fake))

    log = log_of(tmp_path, *(made(step) for step in logits))
    expected = tuple(gm.discriminator_statistics(*sides, step=step) for step, sides in logits.items())
    assert log.steps == expected and log.notes == () and log.losses_from == "logits"


def test_columns_and_usual_names(tmp_path: Path) -> None:
    events = [
        event(step, scalar("D(x)", 0.75), scalar("D(G(z))", 0.25), scalar("Loss_D", 0.5), scalar("errG", 1.0))
        for step in range(3)
    ]
    columns = {"real_probability": "D(x)", "generated_probability": "D(G(z))"}
    log = log_of(tmp_path, *events, columns=columns)
    assert log.steps[0].accuracy == 1 and log.losses == ((0.5, 1.0),) * 3 and log.losses_from == "log"
    assert "shares are of steps" in log.notes[0]
    with pytest.raises(gm.UnreadableInput, match=r"no tag 'D\(y\)'\. It has: D\(G\(z\)\), D\(x\), Loss_D, errG"):
        log_of(tmp_path, *events, columns={"real_logit": "D(y)"})
    with pytest.raises(gm.InputError, match="no column 'loss'"):
        log_of(tmp_path, *events, columns={"loss": "Loss_D"})
    with pytest.raises(gm.UnreadableInput, match="several tags for d_loss"):
        log_of(tmp_path, event(0, scalar("d_loss", 1.0), scalar("loss/D", 1.0), scalar("g_loss", 1.0)))
    with pytest.raises(gm.UnreadableInput, match="has the tags lr, and none"):
        log_of(tmp_path, event(0, scalar("lr", 1.0)))


def test_losses_alone_suffice_if_asked(tmp_path: Path) -> None:
    events = [event(step, scalar("Loss/D", 1.0), scalar("Loss/G", 2.0)) for step in range(4)]
    with pytest.raises(gm.UnreadableInput, match="no outputs of the discriminator"):
        log_of(tmp_path, *events)
    log = log_of(tmp_path, *events, event(4, scalar("Loss/D", 1.0)), losses_suffice=True)
    assert not log.has_outputs and log.losses == ((1.0, 2.0),) * 4
    assert log.verdict.key == "losses_only" and "mislead" in log.verdict.sentence
    assert "1 of 5 steps lack one of d_loss, g_loss" in log.notes[0]
    assert "nan" not in log.to_text() and "Losses" in log.to_html()
    with pytest.raises(gm.InputError, match="no outputs"):
        log.with_losses("hinge")
    gone = log_of(
        tmp_path, *(event(s, scalar("Loss/D", float("nan")), scalar("Loss/G", 2.0)) for s in range(4)),
        losses_suffice=True,
    )  # fmt: skip
    assert gone.verdict.key == "diverged"


def test_what_is_cut_off_is_not_called_empty(tmp_path: Path) -> None:
    path = write(tmp_path, tail=record(event(0, scalar("Loss/D", 1.0)))[:-9])
    told = "no number that can be read .*the last record is cut off.* Give a whole copy"
    for options in ({}, {"losses_suffice": True}):
        with pytest.raises(gm.UnreadableInput, match=told):
            gm.read_training_log(path, **options)
    path = write(tmp_path, event(0, scalar("Loss/D", 1.0)), tail=b"\0" * 5)
    with pytest.raises(gm.UnreadableInput, match=r"has the tags Loss/D.*the last record is cut off"):
        gm.read_training_log(path)
    with pytest.raises(gm.UnreadableInput, match=r"no tag 'x'.*the last record is cut off"):
        gm.read_training_log(path, columns={"d_loss": "x"})


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """With bits flipped, bytes lost, put in or written over, or cut off: up to four times."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, length = int(rng.integers(len(changed) + 1)), int(rng.integers(1, 20))
        kind = int(rng.integers(5))
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = rng.bytes(length)
        else:
            changed[at : at + length] = rng.bytes(length)
    return bytes(changed)


def test_whatever_is_damaged_is_read_or_refused_in_words(tmp_path: Path) -> None:
    """200 logs in four kinds: event files, their events inside whole records, CSV and JSON lines."""
    rng = np.random.default_rng(0)

    def made(step: int) -> bytes:
        real, fake = (field(4, rng.normal(size=8).astype("<f4").tobytes()) for _ in range(2))
        halves = tensor("half", 19, (2,), field(13, 15_000))
        logits = tensor("logits/real", 1, (8,), real), tensor("logits/fake", 1, (8,), fake)
        return event(step, *logits, scalar("Loss/D", 1.0), scalar("Loss/G", 2.0), halves)

    events = [made(step) for step in range(6)]
    rows = b"step,real_logit,generated_logit\n" + b"".join(b"%d,1.5,-0.25\n" % step for step in range(8))
    lines = b"".join(b'{"step": %d, "real_probability": [0.5, 1], "generated_logit": [1, -2]}\n' % s for s in range(8))
    outcomes = {"read": 0, "refused": 0}
    for number in range(200):
        own = np.random.default_rng([1, number])
        name, content = (
            (NAME, mutated(VERSION + b"".join(map(record, events)), own)),
            (NAME, VERSION + b"".join(record(mutated(one, own) if own.random() < 0.5 else one) for one in events)),
            ("log.csv", mutated(rows, own)),
            ("log.jsonl", mutated(lines, own)),
        )[number % 4]
        (tmp_path / name).write_bytes(content)
        try:
            log = gm.read_training_log(tmp_path / name, losses_suffice=number % 3 == 0)
        except gm.InputError as error:
            assert len(str(error)) > 20
            outcomes["refused"] += 1
        else:
            assert log.to_text() and log.to_html() and log.to_json()
            outcomes["read"] += 1
    assert min(outcomes.values()) > 40


@pytest.mark.parametrize("step", ["1e30", "-1e19", "nan", "inf", "1.5"])
def test_a_step_that_is_no_number_of_64_bits_is_refused(tmp_path: Path, step: str) -> None:
    (tmp_path / "log.csv").write_text(f"step,real_logit,generated_logit\n{step},1,2\n")
    with pytest.raises(gm.UnreadableInput, match="whole number as its step"):
        gm.read_training_log(tmp_path / "log.csv")


def test_a_nan_that_signals_is_a_nan(tmp_path: Path) -> None:
    """Some processors complain when they widen it."""
    signalling = field(4, struct.pack("<I", 0x7F800001))
    (value,) = read_events(write(tmp_path, event(0, tensor("t", 1, (1,), signalling)))).series["t"][0]
    assert np.isnan(value)
