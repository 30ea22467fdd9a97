"""Which backends count as copies of their own: by verdicts that are kept, and what they allow."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.separation import Separation, keep_verdicts, separation
from catalogsync_assets_tests.support.database import change, rows

NAMES = {1: "a", 2: "b", 3: "c", 4: "d"}
PAIRS = [frozenset(pair) for pair in itertools.combinations(NAMES, 2)]


def of(**verdicts):
    ids = {name: id_ for id_, name in NAMES.items()}
    return Separation(
        NAMES, {frozenset((ids[p[0]], ids[p[1]])): verdict for p, verdict in verdicts.items()}
    )


def most_apart(ids, known):
    """The size of the largest set of these that are proven apart, each from each."""
    for size in range(len(ids), 1, -1):
        for some in itertools.combinations(sorted(ids), size):
            pairs = itertools.combinations(some, 2)
            if all(known.verdicts.get(frozenset(pair)) == "apart" for pair in pairs):
                return size
    return min(len(ids), 1)


@given(
    verdicts=st.dictionaries(st.sampled_from(PAIRS), st.just("apart")),
    ids=st.sets(st.sampled_from(sorted(NAMES))),
)
def test_no_more_copies_are_counted_than_are_proven(verdicts, ids):
    known = Separation(NAMES, verdicts)

    assert min(len(ids), 1) <= known.copies(ids) <= most_apart(ids, known)


@given(store_of=st.tuples(*[st.integers(0, 3)] * 4), ids=st.sets(st.sampled_from(sorted(NAMES))))
def test_where_all_is_known_copies_are_stores(store_of, ids):
    def verdict(pair):
        one, other = (store_of[id_ - 1] for id_ in pair)
        return "same" if one == other else "apart"

    known = Separation(NAMES, {pair: verdict(pair) for pair in PAIRS})

    assert known.copies(ids) == len({store_of[id_ - 1] for id_ in ids})
    assert known.stores == len(set(store_of))
    assert known.unproven == []


def test_what_is_one_store_with_another_is_apart_from_what_that_is_apart_from():
    known = of(ab="same", ac="apart", cd="same")

    assert known.copies([1, 2]) == known.copies([3, 4]) == 1
    assert known.copies([2, 4]) == 2
    assert known.same == [["a", "b"], ["c", "d"]]
    assert known.unproven == []


def test_a_new_backend_adds_nothing_until_it_is_proven_and_takes_nothing_away():
    known = of(ab="apart")

    assert known.copies([1, 2]) == known.copies([1, 2, 3]) == 2
    assert known.copies([1, 3]) == known.copies([2, 3]) == known.copies([3]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://elsewhere:1"},
        {"bucket": "another-bucket"},
        {"base_prefix": "below"},
        {"region": "eu-central-1"},
        {"addressing_style": "virtual"},
        {"credential_env_prefix": "OTHER"},
    ],
)
def test_a_verdict_is_void_once_a_backend_means_another_place(catalog, unregistered, change):
    one, other = (register(catalog, unregistered(name))[0] for name in ("one", "other"))
    keep_verdicts(catalog, [(one, other, "apart")])
    assert separation(catalog).unproven == []

    before = {"endpoint": other.endpoint, "base_prefix": other.base_prefix}
    register(catalog, unregistered("other", **(before | change)))

    assert separation(catalog).unproven == [("one", "other")]


def test_other_settings_and_what_other_programs_keep_leave_a_verdict_as_it_is(
    catalog, unregistered
):
    one, other = (register(catalog, unregistered(name))[0] for name in ("one", "other"))
    change(catalog, "UPDATE storage_backends SET config = json_set(config, '$.theirs', 5)")
    keep_verdicts(catalog, [(other, one, "apart")])
    place = {"endpoint": other.endpoint, "base_prefix": other.base_prefix}
    register(catalog, unregistered("other", workers=3, **place))

    assert separation(catalog).unproven == []
    configs = rows(catalog, "SELECT config FROM storage_backends WHERE name <> 'local'")
    assert [json.loads(config)["theirs"] for config in configs] == [5, 5]


@pytest.mark.parametrize("config", ["", '{"separation": 5}', '{"separation": {"x": [1]}}'])
def test_what_another_program_has_left_there_proves_nothing(catalog, backend, config):
    backend("one")
    backend("other")
    change(catalog, "UPDATE storage_backends SET config = ?", config)

    assert separation(catalog).unproven == [("one", "other")]
