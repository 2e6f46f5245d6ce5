"""For each law where it is checked, and the planted bugs that show that the check can fail.

All of them hold in worlds of one and of two coordinators. Of 9, what a single coordinator starts is counted only where
there is one, as each of several starts as if a place were its own; what a provider executes is counted in all, and what
several have at a foreign provider, which counts nothing itself. 13 is a matter of the queue alone, and shows in no
world: they are too small for it.
"""

LAWS: dict[int, tuple[str, str]] = {
    1: ("laws.py:_check_dependency", "starts_one_dependency_early"),
    2: (
        "laws.py:apply laws.py:_reset client.py:_check_view",
        "runs_again_what_has_completed goes_on_with_what_has_ended",
    ),
    3: (
        "laws.py:_memory_is_the_replay laws.py:recovered",
        "moves_memory_beside_the_journal keeps_in_memory_what_a_full_journal_took_back",
    ),
    4: (
        "laws.py:submit_acknowledged laws.py:all_over client.py:_submit_another",
        "makes_a_workflow_for_every_submit accepts_another_body_for_a_key",
    ),
    5: (
        "laws.py:call_sent laws.py:acknowledged_calls laws.py:answered laws.py:event_published",
        "sends_before_the_journal acks_before_durable answers_before_durable shows_events_before_durable"
        " acknowledges_what_another_coordinator_waits_for shows_what_is_being_appended",
    ),
    6: (
        "laws.py:execution_started laws.py:_has_no_result_yet",
        "executes_again_at_restart executes_what_it_runs_already forgets_tombstones ignores_the_instance"
        " says_that_what_was_sent_has_not_run executes_what_it_has_turned_away forgets_results_that_nobody_has_heard"
        " calls_again_what_has_a_result",
    ),
    7: (
        "laws.py:_result_is_real laws.py:_cached_result_is_real laws.py:_may_be_taken_over",
        "completes_with_another_result records_results_of_earlier_attempts takes_any_age_from_the_cache"
        " keeps_all_results_under_one_key takes_over_what_is_to_run_anew takes_over_what_had_other_params",
    ),
    8: (
        "laws.py:_begin laws.py:_TaskRetrying laws.py:_gave_up laws.py:_pay laws.py:_waits_as_asked"
        " laws.py:_TaskTurnedBack laws.py:_TaskFailed",
        "retries_beyond_the_policy does_not_back_off charges_busy_as_an_attempt never_quarantines ignores_budgets"
        " asks_again_before_a_limit_ends forgets_what_it_has_put_off turns_back_at_once",
    ),
    9: (
        "laws.py:_capacities_hold laws.py:execution_started foreign.py:call_sent",
        "ignores_capacity ignores_max_parallel calls_foreign_providers_without_leave"
        " leaves_calls_behind_that_nobody_can_attach_to",
    ),
    10: (
        "coordinator.py:note_cancelled laws.py:_TaskCompleted laws.py:apply",
        "cancels_without_telling fires_timers_early forgets_that_its_clock_is_behind",
    ),
    11: (
        "laws.py:claimed laws.py:written laws.py:deleted laws.py:fence_passed laws.py:execution_started",
        "writes_though_deposed skips_the_fence does_not_raise_the_epoch goes_on_with_what_it_gave_away",
    ),
    12: (
        "laws.py:recovered schedule_laws.py:check_memory",
        "derives_nothing_at_start forgets_schedules_at_restart",
    ),
    13: (
        "../libs/engine/scheduling/test_queue.py:test_what_is_low_waits_for_a_bounded_number_of_turns",
        "lets_what_is_low_starve",
    ),
    14: ("laws.py:_params_are_right", "substitutes_twice falls_back_to_the_same_call"),
    15: ("client.py:_receive", "leaves_a_gap_before_live_events begins_anew_with_a_watch_that_moves"),
    16: ("laws.py:_nothing_is_left", "keeps_the_place_of_a_probe keeps_the_place_of_an_ended_call"),
    17: (
        "laws.py:all_over client.py:_watch_to_the_end",
        "never_attaches forgets_timers_at_restart leaves_a_sick_provider_alone_for_ever forgets_to_wake_for_a_probe"
        " relays_nothing_after_a_move forgets_what_is_left_of_a_sweep",
    ),
    18: ("flow_laws.py:check_start flow_laws.py:check_skip", "runs_what_is_not_wanted"),
    19: (
        "flow_laws.py:_check_items flow_laws.py:check_parents_end",
        "lets_all_items_run_at_once starts_though_its_workflow_is_being_stopped",
    ),
    20: ("flow_laws.py:repeated flow_laws.py:check_rounds", "forgets_the_bound_of_a_loop"),
    21: (
        "flow_laws.py:check_start laws.py:_TaskCancelled",
        "cancels_what_runs_always cuts_short_who_is_turned_away cuts_short_what_its_schedule_replaces"
        " cuts_short_children_that_end_already",
    ),
    22: (
        "flow_laws.py:check_undo flow_laws.py:check_end laws.py:_may_be_taken_over",
        "undoes_nothing undoes_the_first_thing_first takes_over_what_was_undone",
    ),
    23: (
        "time_laws.py:_completed time_laws.py:_failed",
        "gives_a_signal_to_all_that_wait overlooks_signals_that_came_before believes_that_a_signal_has_arrived"
        " takes_a_signal_again_that_it_has",
    ),
    24: ("time_laws.py:committed", "forgets_whose_task_a_child_is"),
    25: (
        "time_laws.py:committed permit_laws.py:_most_urgent_first",
        "starts_beyond_the_limit_of_a_key passes_permits_on_by_arrival gives_one_permit_to_all_items"
        " forgets_which_permits_it_had_when_it_goes_back",
    ),
    26: (
        "schedule_laws.py:_fired schedule_laws.py:_is_next schedule_laws.py:committed planner.py:_there"
        " planner.py:_see_it_go_on",
        "fires_again_after_a_restart fires_schedules_early fires_schedules_that_are_paused"
        " starts_beside_what_is_under_way goes_on_with_schedules_that_it_gave_away"
        " forgets_schedules_when_it_takes_over",
    ),
    27: (
        "people_laws.py:lost people_laws.py:given_up people_laws.py:event people_laws.py:_answer client.py:_say",
        "calls_again_what_it_should_ask_about calls_again_at_a_start_what_it_has_asked_about"
        " takes_an_answer_for_whatever_is_asked hears_only_yes gives_up_what_it_should_ask_about"
        " answers_by_itself_too_early",
    ),
}
