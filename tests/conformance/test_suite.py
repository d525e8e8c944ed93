"""The suites can fail: for each of their tests there is a broken connector that the test catches."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from connectors.errors import ConnectorError
from connectors.memory import World
from tests.conformance.broken import (
    AllOrNothing,
    AnyCursor,
    Ascii,
    Boastful,
    Broken,
    DeadFeed,
    Deaf,
    Doubles,
    FetchesAll,
    FirstWins,
    Forgetful,
    GivesUp,
    Heedless,
    Hoards,
    Hollow,
    Hopeful,
    Impatient,
    Inventive,
    KeepsRows,
    Liar,
    Loses,
    NeverComplete,
    NewNames,
    Once,
    OnceOnly,
    Optimist,
    Pessimist,
    Remembers,
    RunsAhead,
    Shuffled,
    Sick,
    Silent,
    SkipsNone,
    Small,
    Talkative,
    Uncounted,
    Undead,
    Uneasy,
    Unhelpful,
    Wanderer,
    WrongTypes,
)
from tests.conformance.memory_lab import CrmLab, EspLab
from tests.conformance.suite import Common, Records
from tests.conformance.suite_esp import Audiences, Statuses

CAUGHT: list[tuple[type[Broken], type[Any], str]] = [
    (Sick, Common, "test_check_is_healthy"),
    (Boastful, Common, "test_capabilities_make_sense"),
    (Inventive, Common, "test_an_unknown_object_is_absent_from_the_catalogue"),
    (Forgetful, Common, "test_what_was_learnt_is_believed_without_a_call"),
    (DeadFeed, Common, "test_every_feed_can_be_read"),
    (Uncounted, Common, "test_calls_are_counted_and_clocks_compared"),
    (Uneasy, Common, "test_a_login_tells_the_time_and_is_not_made_twice"),
    (Wanderer, Common, "test_an_account_is_the_same_at_every_login"),
    (Heedless, Common, "test_an_account_that_is_refused_is_neither_read_nor_written"),
    (Impatient, Common, "test_throttling_is_reported_with_its_time"),
    (Impatient, Common, "test_revoked_credentials_need_a_person"),
    (AnyCursor, Common, "test_a_cursor_of_something_else_is_lost_and_not_misread"),
    (Silent, Records, "test_an_empty_object_yields_one_page"),
    (Loses, Records, "test_a_listing_from_the_start_is_whole"),
    (NeverComplete, Records, "test_a_listing_from_the_start_is_whole"),
    (RunsAhead, Records, "test_resuming_from_any_page_loses_nothing"),
    (Once, Records, "test_changes_made_while_reading_are_not_lost"),
    (GivesUp, Records, "test_a_read_that_breaks_can_be_gone_on_with"),
    (Once, Records, "test_two_may_read_at_once"),
    (Undead, Records, "test_merged_records_are_seen_as_declared"),
    (Once, Records, "test_an_increment_holds_what_changed_and_then_ends"),
    (Remembers, Records, "test_the_same_cursor_may_be_used_twice"),
    (Undead, Records, "test_deletions_are_seen_as_declared"),
    (NeverComplete, Records, "test_a_listing_of_ids_is_numbered_and_complete"),
    (Loses, Records, "test_a_listing_of_ids_is_numbered_and_complete"),
    (Ascii, Records, "test_odd_values_survive"),
    (FetchesAll, Records, "test_fetch_tells_the_truth_of_the_named_only"),
    (WrongTypes, Records, "test_a_ticked_master_flag_arrives"),
    (Once, Records, "test_a_ticked_master_flag_arrives"),
    (WrongTypes, Records, "test_the_catalogue_names_the_fields_of_the_stream"),
    (Shuffled, Records, "test_outcomes_match_operations_and_a_bad_one_sinks_none"),
    (AllOrNothing, Records, "test_outcomes_match_operations_and_a_bad_one_sinks_none"),
    (SkipsNone, Records, "test_updating_twice_equals_once_and_none_clears"),
    (OnceOnly, Records, "test_updating_twice_equals_once_and_none_clears"),
    (Small, Records, "test_the_largest_declared_update_is_true"),
    (Optimist, Records, "test_a_lost_reply_is_unknown_and_fetch_tells"),
    (Pessimist, Records, "test_a_lost_reply_is_unknown_and_fetch_tells"),
    (Talkative, Records, "test_errors_of_writes_hold_nothing_private"),
    (Loses, Statuses, "test_every_status_of_a_container_is_listed"),
    (Once, Statuses, "test_an_opt_out_at_the_vendor_arrives_in_its_feed"),
    (Once, Statuses, "test_a_written_opt_out_is_seen_in_the_feed"),
    (Liar, Statuses, "test_a_written_opt_out_is_seen_in_the_feed"),
    (OnceOnly, Statuses, "test_writing_a_status_twice_equals_once"),
    (Liar, Statuses, "test_writing_a_status_twice_equals_once"),
    (Deaf, Statuses, "test_subscribed_is_written_when_asked"),
    (Hollow, Statuses, "test_a_list_that_is_not_there_is_no_empty_one"),
    (AllOrNothing, Statuses, "test_an_unknown_subscriber_sinks_no_batch"),
    (Small, Statuses, "test_the_largest_declared_status_write_is_true"),
    (Pessimist, Statuses, "test_a_lost_reply_of_an_opt_out_is_unknown_and_fetch_tells"),
    (NewNames, Statuses, "test_events_keep_their_names"),
    (GivesUp, Statuses, "test_a_status_feed_that_breaks_can_be_gone_on_with"),
    (Hoards, Statuses, "test_a_deleted_subscriber_is_in_no_container_and_the_others_stay"),
    (RunsAhead, Statuses, "test_resuming_a_status_feed_loses_nothing"),
    (Talkative, Statuses, "test_errors_of_status_writes_hold_nothing_private"),
    (KeepsRows, Audiences, "test_rows_come_and_go"),
    (Small, Audiences, "test_the_largest_declared_removal_is_true"),
    (Doubles, Audiences, "test_upserting_twice_equals_once"),
    (OnceOnly, Audiences, "test_upserting_twice_equals_once"),
    (FirstWins, Audiences, "test_a_later_upsert_wins"),
    (Ascii, Audiences, "test_odd_values_survive"),
    (AllOrNothing, Audiences, "test_one_bad_row_sinks_none"),
    (Small, Audiences, "test_the_largest_declared_upsert_is_true"),
    (Hopeful, Audiences, "test_a_forgotten_request_is_unknown"),
    (Optimist, Audiences, "test_a_lost_reply_is_unknown_and_fetch_tells"),
    (Unhelpful, Audiences, "test_a_new_audience_can_be_filled"),
    (Talkative, Audiences, "test_errors_of_row_writes_hold_nothing_private"),
]


@pytest.mark.parametrize(("broken", "suite", "name"), CAUGHT, ids=[f"{b.__name__}-{n}" for b, _, n in CAUGHT])
def test_a_broken_connector_is_caught(world: World, broken: type[Broken], suite: type[Any], name: str) -> None:
    lab = CrmLab(world) if suite is Records else EspLab(world)
    lab.connector.close()
    lab.connector = broken(world.address, lab.name)
    with pytest.raises((AssertionError, ConnectorError)):
        getattr(suite(), name)(lab)
    lab.connector.close()
    world.clear_faults()


def test_every_test_of_the_suites_has_its_broken_connector() -> None:
    tests = {(suite, name) for suite in (Common, Records, Statuses, Audiences)
             for name, _ in inspect.getmembers(suite, inspect.isfunction) if name.startswith("test_")}
    assert {(suite, name) for _, suite, name in CAUGHT} == tests
