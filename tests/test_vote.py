"""The vote over seeds, entity by entity."""

from __future__ import annotations

from entitune.records import Mention
from vote_predictions import vote

NAME = Mention("name", "温格", 0, 2)
CLUB = Mention("organization", "曼联", 4, 6)
NOWHERE = Mention("name", "曼城", None, None)


def test_a_vote_predicts_the_mentions_of_most_seeds() -> None:
    assert vote([[NAME, CLUB], [CLUB], [NAME, NOWHERE]]) == [NAME, CLUB]


def test_half_of_the_seeds_is_not_a_majority() -> None:
    assert vote([[NAME], [NAME], [CLUB], [CLUB]]) == []


def test_a_seed_has_one_vote_per_entity() -> None:
    assert vote([[NAME, NAME], [], []]) == []


def test_mentions_without_offsets_come_last() -> None:
    assert vote([[NOWHERE, CLUB], [NOWHERE, CLUB], []]) == [CLUB, NOWHERE]
