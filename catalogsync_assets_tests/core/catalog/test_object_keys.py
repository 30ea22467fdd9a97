"""Keys: within S3's limits, never shared, always the same for the same path."""

import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from catalogsync_assets.core.catalog.object_keys import MAX_KEY_BYTES, fold, object_key, unusable
from catalogsync_assets.core.stores.backend import MAX_PREFIX_BYTES

ROOT = "/music"
QUICK = settings(max_examples=60, deadline=None)
# What a file system takes for a name: anything but the slash and NUL, up to 255 bytes. Letters
# that have no composed form, or a longer one, are made likely; so are dots and backslashes.
CHARACTERS = st.one_of(
    st.sampled_from("aAäÄ.~\\ \u0301\u030aﬀßſKİ雨🎵\ufb2c\u0958\U0001d160"),
    st.characters(exclude_categories=["Cs"], exclude_characters="/\x00"),
)
WORDS = st.text(CHARACTERS, min_size=1, max_size=30)
NAMES = st.one_of(WORDS, st.builds(str.__mul__, WORDS, st.integers(1, 60))).map(
    lambda text: text.encode()[:200].decode(errors="ignore")
)
FOLDERS = NAMES.filter(lambda name: name not in ("", ".", ".."))
EXTENSIONS = st.sampled_from(["mp3", "FLAC", "ogg", "m4a"])
FILES = st.builds("{}.{}".format, NAMES, EXTENSIONS)
PATHS = (
    st.builds(
        lambda folders, file: "/".join([*folders, file]), st.lists(FOLDERS, max_size=8), FILES
    )
    .filter(lambda path: unusable(path) is None)
    .filter(lambda path: len(path.encode()) < 4096)
)


def keys_of(paths: list[str], root: str = ROOT) -> list[str]:
    """Keys given one after another, as a scan gives them."""
    taken = set()
    keys = []
    for path in paths:
        keys.append(object_key(root, path, lambda key: fold(key) in taken))
        taken.add(fold(keys[-1]))
    return keys


def require_valid(key: str) -> None:
    assert len(key.encode()) <= 899
    segments = key.split("/")
    assert not {"", ".", ".."} & set(segments)
    assert max(len(segment.encode()) for segment in segments) <= 255
    assert "\\" not in key
    assert unicodedata.is_normalized("NFC", key)


@QUICK
@given(PATHS, st.booleans())
@example("x" * 251 + ".mp3", True)
@example("/".join(["ü" * 127] * 15) + "/song.mp3", False)
@example(("\U0001d160" * 63 + "/") * 16 + "\U0001d160" * 60 + ".mp3", True)
def test_every_key_is_one_that_every_store_takes(path, is_taken):
    require_valid(object_key(ROOT, path, lambda _: is_taken))


@pytest.mark.parametrize("dots", [".", ".."])
def test_a_key_that_is_cut_does_not_end_in_dots(dots):
    """A folder such as `..hidden` must not become the folder above."""
    for length in range(1, 130):
        folders = ["d" * 200] * 4 + ["e" * length, dots + "hidden" * 30]
        require_valid(object_key(ROOT, "/".join([*folders, "song.mp3"]), lambda _: False))


def test_a_key_that_is_cut_has_no_empty_part():
    for length in range(1, 130):
        folders = ["d" * 200] * 4 + ["e" * length, "f" * 200]
        require_valid(object_key(ROOT, "/".join([*folders, "song.mp3"]), lambda _: False))


def test_a_cut_in_a_combining_sequence_leaves_a_normal_form():
    """Cutting may not bring forth a text that a store would normalise to another one."""
    for length in range(150, 256):
        name = ("a\u0323\u0307" * 200).encode()[:length].decode(errors="ignore")
        require_valid(object_key(ROOT, name + "/" + name[:80] + ".mp3", lambda _: True))


@settings(max_examples=40, deadline=None)
@given(st.lists(PATHS, min_size=2, max_size=6, unique=True))
def test_different_paths_have_different_keys_whatever_the_case(paths):
    variants = [path.swapcase() for path in paths]
    variants += [unicodedata.normalize("NFD", path) for path in paths]
    distinct = list(dict.fromkeys(paths + variants))

    keys = keys_of(distinct)

    assert len({fold(key) for key in keys}) == len(distinct)


@settings(max_examples=40, deadline=None)
@given(st.lists(PATHS, min_size=2, max_size=4, unique=True))
def test_paths_that_look_like_the_keys_of_others_have_keys_of_their_own(paths):
    variants = list(dict.fromkeys([*paths, *(path.swapcase() for path in paths)]))
    as_restored = [key for key in keys_of(variants) if "~" in key]
    assume(as_restored)

    distinct = list(dict.fromkeys(as_restored + variants))
    keys = keys_of(distinct)

    assert len({fold(key) for key in keys}) == len(distinct)


@QUICK
@given(PATHS)
def test_the_same_path_has_the_same_key_each_time(path):
    for is_taken in (True, False):
        assert object_key(ROOT, path, lambda _, t=is_taken: t) == object_key(
            ROOT, path, lambda _, t=is_taken: t
        )


@QUICK
@given(PATHS)
def test_the_same_path_under_two_roots_has_two_keys(path):
    one = object_key("/one", path, lambda _: False)
    other = object_key("/other", path, lambda key: fold(key) == fold(one))

    assert fold(one) != fold(other)


@pytest.mark.parametrize(
    "path",
    ["01.mp3", "Artist/Album/01 Title.flac", "雨/月.ogg", "a~b (c) [d] 'e'.mp3", ".x/y.z.mp3"],
)
def test_a_path_that_needs_no_change_is_its_own_key(path):
    assert object_key(ROOT, path, lambda _: False) == path


def test_a_decomposed_path_is_composed_in_its_key():
    assert object_key(ROOT, "A\u0308.mp3", lambda _: False) == "Ä.mp3"


def test_the_extension_is_kept_when_a_name_is_cut_or_suffixed():
    for path in ("x" * 251 + ".flac", "A.flac"):
        assert object_key(ROOT, path, lambda _: True).endswith(".flac")


def test_a_backslash_is_replaced_and_told_from_the_underscore():
    keys = keys_of(["a\\b.mp3", "a_b.mp3"])

    assert keys[1] == "a_b.mp3"
    assert keys[0].startswith("a_b~")


def test_prefix_and_key_together_fit_s3():
    assert MAX_PREFIX_BYTES + len("/") + MAX_KEY_BYTES <= 1_024
    assert MAX_KEY_BYTES == 899


@QUICK
@given(PATHS)
def test_fold_of_a_fold_is_itself(path):
    assert fold(fold(path)) == fold(path)


@QUICK
@given(PATHS)
def test_fold_does_not_see_case_or_composition(path):
    composed, decomposed = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    assert fold(composed) == fold(decomposed)
    assert fold(composed) == fold(unicodedata.normalize("NFC", composed.casefold()))


@pytest.mark.parametrize("bad", ["a\nb", "a\tb", "\x00", "a\x7f", "\udcff"])
def test_what_no_store_takes_is_unusable(bad):
    assert "rename it" in (unusable(f"folder/{bad}.mp3") or "")


@pytest.mark.parametrize("good", ["a b", "ä", "\\", "\u202e", "🎵", "%00", "\ufeff"])
def test_what_stores_take_is_usable(good):
    assert unusable(f"folder/{good}.mp3") is None
