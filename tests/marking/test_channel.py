"""What crosses between a check and an answer, and what a worker cannot send."""

import json
import pickle
import socket
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
import torch

from minimistral.course.checks.cached import _Cache
from minimistral.course.checks.lesson_14 import Compiled, QueuedDevice
from minimistral.course.checks.report import NotWritten, Wrong
from minimistral.ledger.claim import Claim, Finding
from minimistral.marking.channel import _LENGTHS, Channel, Gone, Late, Unsendable
from minimistral.marking.needed import needed, statements
from minimistral.marking.plain import Unreadable, decode, encode
from minimistral.tokenizer import load


@pytest.fixture
def pair():
    """Makes pairs of connected sockets, and closes them."""
    made = []

    def make():
        made.extend(socket.socketpair())
        return made[-2:]

    yield make
    for end in made:
        end.close()


@pytest.fixture
def over_there(pair):
    """Makes of a function what a check has of it; it is called in another thread."""
    threads = []

    def make(function):
        ours, theirs = pair()
        worker = Channel(theirs, trusts=True)

        def serve():
            try:
                worker.send({"gives": [function], "after": []})
                while True:
                    worker.answer(worker.receive())
            except Gone:
                pass

        threads.append((threading.Thread(target=serve), ours))
        threads[-1][0].start()
        return Channel(ours, trusts=False, deadline=time.monotonic() + 20).receive()["gives"][0]

    yield make
    for thread, ours in threads:
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()


def there_and_back(value):
    return decode(*encode(value, share=lambda function: 0), shared=lambda number: number)


VALUES = [
    None, True, -3, 2.5, float("inf"), "é\ud800", b"\0a", 1 + 2j, Fraction(1, 3),
    [1, [2]], (1, "a"),
    {(1, 2): {3}},
    frozenset({1}), range(2, 9, 3), np.float32(0.1), np.int64(-1), np.bool_(True),
    np.arange(6.0).reshape(2, 3).T, np.zeros((0, 3), np.uint8), np.array(5, np.float16),
    np.array(["a", "bc"]), np.array([1, None, "x"], object),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_plain_value_arrives_as_it_is(value):
    got = there_and_back(value)
    assert type(got) is type(value)
    if isinstance(value, np.ndarray):
        assert got.dtype == value.dtype and got.shape == value.shape
        assert np.array_equal(got, value)
    else:
        assert got == value


def test_a_value_of_a_class_of_its_own_loses_it():
    class Equal(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Same(np.ndarray):
        pass

    assert [type(there_and_back(value)) for value in (Equal(3), np.ones(2).view(Same))] == [
        int, np.ndarray,
    ]  # fmt: skip
    assert type(there_and_back(slice(3))).__name__ == "slice"  # a check may name its type


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_a_tensor_arrives_as_one(dtype):
    value = torch.ones(2, 3).to(dtype)
    value.requires_grad = dtype == torch.float32
    got = there_and_back(value)
    assert got.dtype == dtype and got.requires_grad == value.requires_grad
    assert torch.equal(got, value)


BAD = [
    "nonsense", '{"x": "os.system(1)"}', '{"a": ["|O", [1], 0, 8]}', '{"a": ["<f8", [-1], 0, 8]}',
    '{"a": ["<f8", [2], 0, 8]}', '{"a": ["<f8", [1], -8, 8]}', '{"a": ["<f8", [1, true], 0, 8]}',
    '{"r": ["Popen", {}]}', '{"r": ["Claim", {}]}', '{"l": 5}', '{"T": [1, false, false]}',
    '{"a": 1, "b": 2}', '{"s": [[]]}', "[1]", "9" * 5000, '{"l":[' * 5000, '{"q": 1}',
    '{"q": [1, 0]}',
]  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:20])
def test_what_no_worker_sends_is_refused(text):
    with pytest.raises(Unreadable):
        decode(text.encode(), bytes(8), shared=repr)


def test_the_marking_process_reads_no_pickle(pair):
    class Bomb:
        def __reduce__(self):
            return (opened.append, (True,))

    opened = []
    data = pickle.dumps({"gives": 1, "after": []})
    for text, blob in ((data, b""), (b"{}", data), (data, data)):
        ours, theirs = pair()
        theirs.sendall(_LENGTHS.pack(len(text), len(blob)) + text + blob)
        theirs.close()
        channel = Channel(ours, trusts=False)
        with pytest.raises(Gone):
            channel._message()
    assert not opened


def test_a_message_has_a_largest_size_and_a_deadline(pair):
    ours, theirs = pair()
    theirs.sendall(_LENGTHS.pack(2**40, 0))
    with pytest.raises(Gone, match="more than fits"):
        Channel(ours, trusts=False).receive()
    with pytest.raises(Late):
        Channel(ours, trusts=False, deadline=time.monotonic() + 0.05).receive()


def test_a_worker_measures_nothing_here(pair):
    """It may call what the check gives it, and have nothing else run."""
    channel = Channel(pair()[0], trusts=False)
    channel.functions.append(max)
    for measure in (True, "print", 0):
        with pytest.raises(Gone):
            channel.answer({"call": 0, "with": (1, 2), "named": {}, "by": measure})
    with pytest.raises(Gone):
        channel.answer({"call": 1, "with": (), "named": {}, "by": None})


def test_a_function_changes_its_arguments_for_its_caller(over_there):
    def change(array, numbers, weights, cache, device):
        array[0] = 9
        numbers.append(3)
        weights["a"][1] = 5
        cache.keys[0, 0] = 2
        device.run(2.0)
        return len(numbers)

    array, numbers, kept = np.zeros(2), [1], np.zeros(2)
    weights, cache, device = {"a": kept}, _small_cache(), QueuedDevice(1.0, 0.5)
    assert over_there(change)(array, numbers, weights, cache, device) == 2
    assert array.tolist() == [9, 0] and numbers == [1, 3] and kept.tolist() == [0, 5]
    assert weights["a"] is kept and (cache.keys[0, 0] == 2).all()
    assert (device.time, device.idle_from, device.first) == (1.0, 3.5, 0)


def _small_cache():
    from minimistral.course.checks.cached import _CONFIG

    return _Cache(_CONFIG)


def test_an_answer_calls_what_the_check_gives_it(over_there):
    """Also a function that notes its calls here, and one that changes what it is given."""
    seen = []

    def update(weights):
        seen.append(sorted(weights))
        weights["a"] += 1

    def keep_each(weights, update, program):
        held, kept = weights["a"], []
        for _ in range(2):
            update(weights)
            kept.append(held.copy())
        return kept, program(held)

    program = Compiled(np.sum)
    kept, total = over_there(keep_each)({"a": np.zeros(2)}, update, program)
    assert [part.tolist() for part in kept] == [[1, 1], [2, 2]] and total == 4
    assert seen == [["a"], ["a"]] and program.n_programs == 1


@pytest.mark.parametrize(
    "error",
    [ValueError("a"), KeyError("a"), NotImplementedError(), NotWritten("line"), Wrong("no"),
     SystemExit(0), UnicodeDecodeError("utf-8", b"a", 0, 1, "b"), np.linalg.LinAlgError("singular"),
     ZeroDivisionError("by 0"), KeyboardInterrupt(), RecursionError("deep")],
    ids=repr,
)  # fmt: skip
def test_an_error_arrives_with_its_name_and_text(error, over_there):
    def fail():
        raise error

    with pytest.raises((Exception, SystemExit)) as caught:
        over_there(fail)()
    assert (type(caught.value).__name__, str(caught.value)) == (type(error).__name__, str(error))
    for kind in (ValueError, NotImplementedError, Wrong, SystemExit, ArithmeticError):
        assert isinstance(caught.value, kind) == isinstance(error, kind)


def test_a_tokenizer_crosses_also_when_it_has_loaded_its_templates(over_there):
    """A check that goes before may have used it, for another learner."""
    tokenizer = load("v1")
    tokenizer.chat([{"role": "user", "content": "Hi"}])
    answer = over_there(lambda given, text: given.encode(text))
    for text in ("Hi", "Bye"):  # it is sent once
        assert answer(tokenizer, text) == tokenizer.encode(text)


def test_what_cannot_be_sent_is_no_mistake_of_the_learner(over_there):
    with pytest.raises(Unsendable, match="generator"):
        over_there(len)(n for n in "ab")


def test_a_claim_arrives_as_one_and_its_evidence_is_asked_there(over_there):
    def entry(verdict):
        return Claim("a-name", "It is.", ("reader",), "", "true", "computed", "It is {n}.",
                     lambda: Finding(verdict, {"n": 3}))  # fmt: skip

    claim = over_there(entry)("true")
    assert type(claim) is Claim and claim.reason() == "It is 3."


def test_a_name_is_what_the_last_statement_sets_it_to():
    source = """
import numpy as np
np.testing.assert_array_equal(slow(), 0)
W = 3
W += slow()
W = 4
keys = []
keys.append(W)
def slow(): return slower
def mine(x): return len(keys) + np.sum(x)
"""
    there = statements(source, "06")
    lines = [there[place].source.splitlines()[0] for place in needed(there, {"mine"})]
    assert lines == ["import numpy as np", "W = 4", "keys = []", "keys.append(W)", "def mine(x):"]


def test_magics_are_read():
    there = statements("%timeit mask()\n!ls\nx = 1", "06")
    assert [statement.binds for statement in there][-1] == {"x"} and len(there) == 3


def test_a_message_is_json():
    text, _ = encode({"gives": [1, "✓"], "after": []}, share=id)
    assert json.loads(text)
