"""Every story ends as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.sentences import SENTENCES, tell
from tests.scenarios.worlds import Teller

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("story", STORIES, ids=[path.stem for path in STORIES])
def test_story(story: Path, tmp_path: Path) -> None:
    teller = Teller(tmp_path)
    try:
        tell(teller, story)
    finally:
        teller.close()


def test_there_are_stories_and_each_says_what_it_shows() -> None:
    assert len(STORIES) >= 40
    for path in STORIES:
        header = path.read_text(encoding="utf-8").split("\nworld\n")[0].split("\npeople\n")[0].strip()
        assert header.endswith("."), path.name


def test_every_sentence_is_told_somewhere() -> None:
    told = [line.split("#")[0].strip() for path in STORIES for line in path.read_text(encoding="utf-8").splitlines()]
    unused = [pattern.pattern for pattern, _ in SENTENCES if not any(pattern.fullmatch(line) for line in told)]
    assert unused == []


@pytest.mark.parametrize(("line", "message"), [
    ("ann dances", "odd.txt:6: nobody knows what this means"), ("offers go to bob", "odd.txt:6: offers go to bob")])
def test_a_story_that_is_wrong_says_where(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "odd.txt"
    path.write_text(f"Odd.\npeople\n  ann\nstory\n  syncd is linked\n  {line}\n", encoding="utf-8")
    teller = Teller(tmp_path)
    try:
        with pytest.raises(AssertionError, match=message):
            tell(teller, path)
    finally:
        teller.close()
