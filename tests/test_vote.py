"""The vote over seeds, entity by entity."""

from __future__ import annotations

from entitune.records import Mention
from vote_predictions import vote

NAME = Mention("name", "温格", 0, 2)
CLUB = Mention("organization", "曼联", 4, 6)
NOWHERE = Mention("name", "曼城", None, None)


def test_what_most_seeds_predict_is_predicted() -> None:
    assert vote([[NAME, CLUB], [CLUB], [NAME, NOWHERE]]) == [NAME, CLUB]


def test_half_is_not_most() -> None:
    assert vote([[NAME], [NAME], [CLUB], [CLUB]]) == []


def test_a_seed_has_one_vote_an_entity() -> None:
    assert vote([[NAME, NAME], [], []]) == []


def test_mentions_without_a_place_come_last() -> None:
    assert vote([[NOWHERE, CLUB], [NOWHERE, CLUB], []]) == [CLUB, NOWHERE]
