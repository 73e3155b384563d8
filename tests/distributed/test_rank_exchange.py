"""Ranks exchange texts through a store, here as threads of one process; a rank that does not come is named."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import FileStore, HashStore, TCPStore

from opflops import RankError
from opflops.torch_internals import rank_exchange
from opflops.torch_internals.rank_exchange import Members, RankExchange


def run(exchanges, texts, timeout=20, pauses=()):
    """Exchange texts in threads; return what each got, or its error."""

    def one(position):
        time.sleep(pauses[position] if pauses else 0)
        try:
            return exchanges[position].exchange(texts[position], timeout, "gather()")
        except RankError as error:
            return error

    with ThreadPoolExecutor(len(exchanges)) as pool:
        return list(pool.map(one, range(len(exchanges))))


def exchanges_of(store, ranks):
    return [RankExchange(Members(store, tuple(ranks), rank), "gather") for rank in ranks]


def keys_in(store):
    return [key for key in store.list_keys() if "opflops" in key]


@pytest.fixture(params=["hash", "file", "tcp"])
def store(request, tmp_path):
    if request.param == "hash":
        return HashStore()
    if request.param == "file":
        return FileStore(str(tmp_path / "store"), -1)
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=20))


def test_every_rank_gets_all_texts_each_time_and_the_store_is_as_before(store):
    """In every kind of store: equal and different texts, empty ones, and of any character, three times in a row."""
    exchanges = exchanges_of(store, (0, 2, 5))
    for texts in (["a", "b", "c"], ["same", "same", "same"], ["", "é\ud800\0", "x" * 1000]):
        expected = dict(zip((0, 2, 5), texts, strict=True))
        assert run(exchanges, texts) == [expected] * 3
        assert keys_in(store) == []


def test_a_text_longer_than_a_store_takes_comes_in_pieces(monkeypatch):
    """Random digits, which do not get shorter than half; the pieces are gone afterwards."""
    monkeypatch.setattr(rank_exchange, "_PIECE", 1000)
    digits = random.Random(0)  # noqa: S311 - no secret
    texts = ["".join(digits.choices("0123456789", k=20_000)) for _ in range(2)]
    store = HashStore()
    assert run(exchanges_of(store, (0, 1)), texts) == [dict(enumerate(texts))] * 2
    assert keys_in(store) == []


def test_groups_and_purposes_of_one_store_do_not_meet():
    """Two groups with a rank in common, and two exchanges of one group."""
    store = HashStore()
    first, second = exchanges_of(store, (0, 1)), exchanges_of(store, (0, 2))
    other = [RankExchange(Members(store, (0, 1), rank), "command") for rank in (0, 1)]
    with ThreadPoolExecutor(3) as pool:
        results = pool.map(run, (first, second, other), (["a", "b"], ["c", "d"], ["e", "f"]))
    assert list(results) == [[{0: "a", 1: "b"}] * 2, [{0: "c", 2: "d"}] * 2, [{0: "e", 1: "f"}] * 2]


def test_ranks_that_do_not_come_are_named_in_time():
    """Of five, the third and the fifth; the others take back their texts."""
    store = HashStore()
    began = time.monotonic()
    errors = run(
        [each for number, each in enumerate(exchanges_of(store, range(5))) if number not in (2, 4)], "abc", 0.5
    )
    assert time.monotonic() - began < 5
    for error in errors:
        assert error.ranks == (2, 4)
        assert str(error).startswith("Ranks 2 and 4 did not come to gather() within 0.5 s")
    # What they leave is for these two alone.
    assert [key for key in keys_in(store) if "late" not in key] == []


def test_a_rank_that_comes_too_late_is_told_and_the_next_exchange_works():
    """Also if it missed one altogether: it raises once, and then all have the same number of exchanges again."""
    store = HashStore()
    exchanges = exchanges_of(store, range(3))
    errors = run(exchanges, "abc", 0.4, pauses=(0, 0, 1.2))
    assert [error.ranks for error in errors] == [(2,), (2,), (2,)]
    assert "comes too late: rank" in str(errors[2])
    assert run(exchanges, "def") == [{0: "d", 1: "e", 2: "f"}] * 3
    assert keys_in(store) == []
    run(exchanges[:2], "gh", 0.2)
    with pytest.raises(RankError, match=r"waited 0\.2 s for this rank, 2"):
        exchanges[2].exchange("i", 5, "gather()")
    assert run(exchanges, "jkl") == [{0: "j", 1: "k", 2: "l"}] * 3
    assert keys_in(store) == []


class Fails:
    """A store whose connection ends at one of its functions."""

    def __init__(self, inner, failing):
        self.inner, self.failing = inner, failing

    def __getattr__(self, name):
        if name == self.failing:
            raise RuntimeError("Connection reset by peer")
        return getattr(self.inner, name)


def test_a_store_that_ended_is_an_error_that_says_who_holds_it(monkeypatch):
    """As after the end of rank 0, which holds that of a group without torchrun."""
    exchange = RankExchange(Members(HashStore(), (0, 1), 1), "gather")
    exchange._store = Fails(exchange._store, "set")
    with pytest.raises(RankError, match=r"lost the store.*rank 0 holds until it ends: Connection reset") as raised:
        exchange.exchange("a", 1, "gather()")
    assert raised.value.ranks == (0,)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(RankError, match=r"torchrun holds until it ends") as raised:
        exchange.exchange("a", 1, "gather()")
    assert raised.value.ranks == ()


def test_the_rank_that_may_hold_the_store_leaves_last():
    """Rank 0 waits until the others have read; a store that ends when a rank has read all changes nothing."""
    exchanges = exchanges_of(HashStore(), range(3))
    left = []

    def read_slowly(key, get=exchanges[2]._store.get):
        time.sleep(0.3)
        left.append(time.monotonic())
        return get(key)

    exchanges[1]._store = Fails(exchanges[1]._store, "add")
    exchanges[2]._store = type("Slow", (Fails,), {"get": staticmethod(read_slowly)})(exchanges[2]._store, "")
    with ThreadPoolExecutor(3) as pool:
        results = [pool.submit(each.exchange, text, 2, "gather()") for each, text in zip(exchanges, "abc", strict=True)]
        results[0].result()
        assert len(left) == 4
    assert [each.result() for each in results] == [{0: "a", 1: "b", 2: "c"}] * 3


def test_many_ranks_with_the_same_text_read_it_once():
    """Each text that differs is read by each rank; that of a rank itself, and its equals, by none."""
    store = HashStore()
    read = []

    class Counted:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def get(self, key):
            read.append(key)
            return self.inner.get(key)

    exchanges = exchanges_of(store, range(12))
    for each in exchanges:
        each._store = Counted(each._store)

    results = run(exchanges, ["even" if rank % 2 == 0 else "odd" for rank in range(12)])
    assert results == [{rank: "even" if rank % 2 == 0 else "odd" for rank in range(12)}] * 12
    assert len([key for key in read if key.count("/") == 2]) == 12
