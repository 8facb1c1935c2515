/*
 * The queue of all sessions, through the store's interface: what may be taken, in which order, and
 * that what is given back may be taken again.
 */
#include "store_kit.h"

#define MOST 64

static struct ag_op_run_claim claims[MOST];

static struct ag_op_run_create *enqueue(const char *session, int priority)
{
    struct ag_op_run_create *create = kit_create("bob", session, "hi");

    create->claim = false;
    create->priority = priority;
    kit_ok();
    ck_assert(!create->out_claimed);
    ck_assert_int_eq(create->out_attempt, 0);
    return create;
}

static struct ag_op_claim_next *take_aged(int most, int64_t aging_ms)
{
    struct ag_op_claim_next *next = &kit_add(AG_OP_CLAIM_NEXT)->claim_next;

    *next = (struct ag_op_claim_next){.claims = claims, .most = most, .aging_ms = aging_ms, .reap = true};
    kit_ok();
    ck_assert_int_le(next->out_count, most);
    return next;
}

static struct ag_op_claim_next *take(int most)
{
    return take_aged(most, 0);
}

/* The ids that were taken, as "1 2 3". */
static const char *taken(const struct ag_op_claim_next *next)
{
    static char text[512];
    size_t at = 0;

    text[0] = '\0';
    for (int i = 0; i < next->out_count; i++) {
        ck_assert(claims[i].out_claimed);
        ck_assert_int_eq(claims[i].out_status, AG_RUN_RUNNING);
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%lld", i > 0 ? " " : "", (long long)claims[i].run_id);
    }
    return text;
}

static struct ag_queue_look look(void)
{
    struct ag_queue_look out;

    ck_assert_int_eq(ag_reader_queue(kit.reader, true, &out, &err), AGENT_OK);
    return out;
}

static void found(void *ctx, const char *line)
{
    (void)ctx;
    ck_abort_msg("%s", line);
}

static void close_checked(void)
{
    agent_error e = AGENT_ERROR_INIT;

    ck_assert_msg(kit.store->vt->check(kit.store, found, NULL, &e) == AGENT_OK, "%s", e.text);
    kit_close();
}

/* Ends a run that was taken. */
static int64_t finish(const struct ag_op_run_claim *claim, enum ag_run_status status)
{
    struct ag_op_run_create as = {.out_run_id = claim->run_id, .out_session_id = claim->out_session_id};
    struct ag_op_run_finish *end;

    kit.unit.fence_run_id = claim->run_id;
    kit.unit.fence_attempt = claim->out_attempt;
    (void)kit_step_end(claim->run_id, 1, AG_STEP_SUCCEEDED);
    end = kit_finish(&as, status);
    kit_ok();
    return end->out_next_run_id;
}

static void open_with_bob(int impl)
{
    kit_open(impl);
    (void)kit_agent("bob");
}

START_TEST(an_empty_queue_gives_nothing)
{
    struct ag_op_claim_next *next;

    open_with_bob(_i);
    next = take(MOST);
    ck_assert_int_eq(next->out_count, 0);
    ck_assert(!next->out_more);
    ck_assert(!look().is_ready);
    ck_assert(!look().has_waiting);
    ck_assert(!look().has_dead);
    close_checked();
}
END_TEST

START_TEST(what_is_taken_runs_and_says_all_that_a_claim_says)
{
    struct ag_op_run_create *create;

    open_with_bob(_i);
    create = enqueue("s", 1);
    ck_assert(look().is_ready);
    ck_assert(look().has_waiting);
    ck_assert_str_eq(taken(take(MOST)), "1");
    ck_assert_int_eq(claims[0].out_session_id, create->out_session_id);
    ck_assert_int_eq(claims[0].out_agent_id, create->out_agent_id);
    ck_assert_int_eq(claims[0].out_version_id, create->out_version_id);
    ck_assert_int_eq(claims[0].out_input_seq, 1);
    ck_assert_int_eq(claims[0].out_attempt, 1);
    ck_assert_int_eq(claims[0].out_priority, 1);
    ck_assert_int_eq(claims[0].out_queued_at_ms, create->queued_at_ms);
    ck_assert(claims[0].out_fresh);
    kit_is(RUNS, "id status attempts", "1|running|1\n");
    kit_is(MESSAGES, "seq role text", "1|user|hi\n");
    ck_assert(!look().is_ready);
    ck_assert(!look().has_waiting);
    ck_assert_int_eq(take(MOST)->out_count, 0);
    close_checked();
}
END_TEST

START_TEST(high_comes_before_normal_before_low_and_each_in_the_order_it_came)
{
    static const int priorities[] = {-1, 0, 1, 0, 1, -1, 1};
    struct ag_op_claim_next *next;

    open_with_bob(_i);
    for (size_t i = 0; i < sizeof(priorities) / sizeof(priorities[0]); i++)
        (void)enqueue(NULL, priorities[i]);
    next = take(4);
    ck_assert_str_eq(taken(next), "3 5 7 2");
    ck_assert(next->out_more);
    next = take(MOST);
    ck_assert_str_eq(taken(next), "4 1 6");
    ck_assert(!next->out_more);
    close_checked();
}
END_TEST

/* The kit's clock moves a second with each commit. */
START_TEST(who_waited_counts_one_class_higher_for_each_age)
{
    open_with_bob(_i);
    (void)enqueue(NULL, -1); /* 1 */
    (void)enqueue(NULL, -1); /* 2 */
    for (int i = 0; i < 4; i++)
        (void)enqueue(NULL, 0); /* 3 to 6 */
    (void)enqueue(NULL, 1); /* 7; then 1 waited 7 s, 2 6 s, 3 5 s, 4 4 s … */
    ck_assert_str_eq(taken(take_aged(1, 3500)), "1"); /* two ages: high, and before 7 */
    ck_assert_str_eq(taken(take_aged(2, 3500)), "2 3");
    ck_assert_str_eq(taken(take_aged(1, 100000)), "7"); /* nobody is so old */
    ck_assert_str_eq(taken(take_aged(MOST, 100000)), "4 5 6");
    close_checked();
}
END_TEST

START_TEST(of_a_session_one_run_is_taken_and_its_end_lets_the_next_one_come)
{
    open_with_bob(_i);
    (void)enqueue("a", 0);
    (void)enqueue("a", 1); /* does not overtake its own session */
    (void)enqueue("a", 0);
    (void)enqueue("b", 0);
    ck_assert_str_eq(taken(take(MOST)), "1 4");
    ck_assert(!look().is_ready);
    ck_assert(look().has_waiting);
    ck_assert_int_eq(take(MOST)->out_count, 0);
    claims[0] = (struct ag_op_run_claim){.run_id = 1, .out_session_id = 1, .out_attempt = 1};
    ck_assert_int_eq(finish(&claims[0], AG_RUN_SUCCEEDED), 2);
    ck_assert_str_eq(taken(take(MOST)), "2");
    ck_assert_int_eq(claims[0].out_input_seq, 2);
    ck_assert_int_eq(finish(&claims[0], AG_RUN_FAILED), 3);
    ck_assert_str_eq(taken(take(MOST)), "3");
    close_checked();
}
END_TEST

START_TEST(a_run_that_somebody_waits_with_is_not_taken)
{
    struct ag_op_run_create *first, *held;

    open_with_bob(_i);
    first = kit_run("bob", "s", "one");
    held = kit_run("bob", "s", "two");
    (void)enqueue("s", 0);
    ck_assert_int_eq(take(MOST)->out_count, 0);
    (void)kit_answer(first, "1");
    ck_assert_int_eq(take(MOST)->out_count, 0); /* the held one is next */
    ck_assert(!look().is_ready);
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = held->out_run_id;
    kit_ok();
    ck_assert_str_eq(taken(take(MOST)), "3");
    close_checked();
}
END_TEST

START_TEST(a_queued_run_that_is_cancelled_is_not_taken_and_the_next_one_is)
{
    open_with_bob(_i);
    (void)enqueue("s", 0);
    (void)enqueue("s", 0);
    (void)enqueue("s", 0);
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = 2; /* in the middle: nobody's turn comes by it */
    kit_ok();
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = 1;
    kit_ok();
    ck_assert_str_eq(taken(take(MOST)), "3");
    kit_is(RUNS, "id status", "1|cancelled\n2|cancelled\n3|running\n");
    close_checked();
}
END_TEST

START_TEST(a_run_that_waits_for_a_decision_holds_nobody_up_and_comes_back_decided)
{
    static const enum agent_effect acts[] = {AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *run;
    struct ag_op_run_claim *claim;

    open_with_bob(_i);
    run = kit_calling("bob", "s", 1, acts);
    claim = &kit_add(AG_OP_RUN_CLAIM)->run_claim;
    claim->run_id = run->out_run_id;
    claim->force = true; /* as if its owner had died in the call */
    kit_ok();
    ck_assert_int_eq(claim->out_status, AG_RUN_WAITING);
    ck_assert_int_eq(take(MOST)->out_count, 0);
    kit_add(AG_OP_RUN_DECIDE)->run_decide = (struct ag_op_run_decide){.run_id = run->out_run_id, .approve = true};
    kit_ok();
    ck_assert(look().is_ready);
    ck_assert_str_eq(taken(take(MOST)), "1");
    ck_assert(!claims[0].out_fresh);
    ck_assert_int_eq(claims[0].out_attempt, 3);
    close_checked();
}
END_TEST

START_TEST(a_turn_behind_one_that_came_to_wait_may_be_taken)
{
    static const enum agent_effect acts[] = {AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *run;
    struct ag_op_run_claim *claim;

    open_with_bob(_i);
    run = kit_calling("bob", "s", 1, acts);
    (void)enqueue("s", 0);
    ck_assert(!look().is_ready);
    claim = &kit_add(AG_OP_RUN_CLAIM)->run_claim;
    claim->run_id = run->out_run_id;
    claim->force = true;
    kit_ok();
    ck_assert_str_eq(taken(take(MOST)), "2");
    kit_is(RUNS, "id status", "1|failed\n2|running\n");
    close_checked();
}
END_TEST

START_TEST(what_is_claimed_by_its_number_is_not_in_the_queue_any_more)
{
    struct ag_op_run_claim *claim;

    open_with_bob(_i);
    (void)enqueue("s", 0);
    (void)enqueue("t", 0);
    claim = &kit_add(AG_OP_RUN_CLAIM)->run_claim;
    claim->run_id = 1;
    kit_ok();
    ck_assert(claim->out_claimed);
    ck_assert_str_eq(taken(take(MOST)), "2");
    close_checked();
}
END_TEST

START_TEST(what_is_removed_is_not_in_the_queue_any_more)
{
    open_with_bob(_i);
    (void)kit_agent("eve");
    (void)enqueue("s", 0);
    (void)enqueue("t", 0);
    kit_add(AG_OP_SESSION_RM)->session_rm.session_id = 1;
    kit_ok();
    ck_assert_str_eq(taken(take(1)), "2");
    ck_assert_int_eq(finish(&claims[0], AG_RUN_SUCCEEDED), 0);
    (void)enqueue(NULL, 0);
    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    kit_ok();
    ck_assert(!look().is_ready);
    ck_assert(!look().has_waiting);
    ck_assert_int_eq(take(MOST)->out_count, 0);
    close_checked();
}
END_TEST

START_TEST(a_unit_that_fails_after_it_took_runs_leaves_them_in_the_queue)
{
    struct ag_op_claim_next *next;

    open_with_bob(_i);
    (void)enqueue("s", 0);
    (void)enqueue("s", 0);
    (void)enqueue("t", -1);
    next = &kit_add(AG_OP_CLAIM_NEXT)->claim_next;
    *next = (struct ag_op_claim_next){.claims = claims, .most = MOST};
    kit_add(AG_OP_TOOL_RM)->name.name = S("there is none");
    kit_fails(AGENT_ENOTFOUND);
    kit_is(RUNS, "id status attempts", "1|queued|0\n2|queued|0\n3|queued|0\n");
    ck_assert_str_eq(taken(take(MOST)), "1 3");
    close_checked();
}
END_TEST

/* Turns of sessions that become free in any order still come by their numbers. */
START_TEST(what_becomes_ready_late_takes_its_place_by_its_number)
{
    enum { SESSIONS = 9, TURNS = 3 };
    static const int order[SESSIONS] = {4, 0, 8, 2, 6, 1, 7, 3, 5};
    char name[8];

    open_with_bob(_i);
    for (int s = 0; s < SESSIONS; s++)
        for (int t = 0; t < TURNS; t++) {
            (void)snprintf(name, sizeof(name), "s%d", s);
            (void)enqueue(name, 0);
        }
    ck_assert_int_eq(take(SESSIONS)->out_count, SESSIONS);
    for (int i = 0; i < SESSIONS; i++) { /* their first turns end in an order of their own */
        struct ag_op_run_claim first = {.run_id = order[i] * TURNS + 1, .out_session_id = order[i] + 1, .out_attempt = 1};

        ck_assert_int_eq(finish(&first, AG_RUN_SUCCEEDED), order[i] * TURNS + 2);
    }
    ck_assert_str_eq(taken(take(4)), "2 5 8 11");
    ck_assert_str_eq(taken(take(MOST)), "14 17 20 23 26");
    close_checked();
}
END_TEST

START_TEST(a_full_queue_refuses_the_next_run_and_says_which_limit)
{
    struct ag_op_run_create *create;

    open_with_bob(_i);
    (void)kit_run("bob", "held", "runs");  /* neither one that runs */
    (void)kit_run("bob", "held", "waits"); /* nor one that somebody waits with is in the queue */
    (void)enqueue("s", 0);
    (void)enqueue("t", 0);
    for (int i = 0; i < 2; i++) {
        create = kit_create("bob", "u", "no");
        create->claim = false;
        create->most_queued = 2;
        kit_fails(AGENT_EBUSY);
        ck_assert_ptr_nonnull(strstr(err.text, "queued_runs"));
        ck_assert_ptr_nonnull(strstr(err.hint, "agentctl work"));
    }
    kit_is(RUNS, "status", "running\nqueued\nqueued\nqueued\n");
    kit_is(SESSIONS, "name", "held\ns\nt\n");
    create = kit_create("bob", "u", "mine");
    create->most_queued = 2;
    kit_ok(); /* it is not queued: it runs */
    ck_assert(create->out_claimed);
    ck_assert_int_eq(take(1)->out_count, 1);
    create = kit_create("bob", "u", "yes");
    create->claim = false;
    create->most_queued = 2;
    kit_ok();
    create = kit_create("bob", "u", "no");
    create->claim = false;
    create->most_queued = 2;
    kit_fails(AGENT_EBUSY);
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = 4;
    kit_ok(); /* cancelled, removed: each makes room */
    create = kit_create("bob", "u", "yes");
    create->claim = false;
    create->most_queued = 2;
    kit_ok();
    close_checked();
}
END_TEST

START_TEST(a_turn_that_will_not_wait_is_refused_behind_another_and_leaves_nothing)
{
    static const enum agent_effect acts[] = {AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *first, *second, *run;
    struct ag_op_run_claim *claim;

    open_with_bob(_i);
    first = kit_run("bob", "s", "one");
    second = kit_create("bob", "s", "two");
    second->not_behind = true;
    kit_fails(AGENT_EBUSY); /* one runs */
    ck_assert_ptr_nonnull(strstr(err.text, "run 1 "));
    kit_is(RUNS, "id status", "1|running\n");
    (void)kit_answer(first, "1");
    (void)enqueue("s", 0);
    second = kit_create("bob", "s", "two");
    second->claim = false;
    second->not_behind = true;
    kit_fails(AGENT_EBUSY); /* one is queued */
    second = kit_create("bob", NULL, "two");
    second->not_behind = true;
    kit_ok(); /* a session of its own is never busy */
    run = kit_calling("bob", "w", 1, acts);
    claim = &kit_add(AG_OP_RUN_CLAIM)->run_claim;
    claim->run_id = run->out_run_id;
    claim->force = true;
    kit_ok();
    ck_assert_int_eq(claim->out_status, AG_RUN_WAITING);
    second = kit_create("bob", "w", "on");
    second->not_behind = true;
    kit_ok(); /* one that waits for a person holds nobody up */
    ck_assert(second->out_claimed);
    close_checked();
}
END_TEST

START_TEST(who_is_behind_a_run_of_ours_is_told_so_and_whose_turn_is_next)
{
    struct ag_op_run_create *first, *second, *third;
    struct ag_op_run_cancel *cancel;

    open_with_bob(_i);
    first = kit_run("bob", "s", "one");
    ck_assert(!first->out_blocked_by_us);
    second = kit_run("bob", "s", "two");
    ck_assert(second->out_blocked_by_us);
    third = kit_run("bob", "s", "three");
    ck_assert(third->out_blocked_by_us);
    (void)kit_answer(first, "1");
    cancel = &kit_add(AG_OP_RUN_CANCEL)->run_cancel;
    cancel->run_id = second->out_run_id;
    kit_ok();
    ck_assert_int_eq(cancel->out_next_run_id, third->out_run_id);
    (void)enqueue("t", 0);
    third = kit_run("bob", "t", "behind one that nobody holds");
    ck_assert_int_eq(third->out_blocked, AG_BLOCKED_CLAIMABLE);
    ck_assert(!third->out_blocked_by_us);
    close_checked();
}
END_TEST

START_TEST(an_agent_with_a_run_that_somebody_waits_with_is_not_removed)
{
    struct ag_op_run_create *first, *held;

    open_with_bob(_i);
    first = kit_run("bob", "s", "one");
    held = kit_run("bob", "s", "two");
    (void)kit_answer(first, "1");
    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    kit_fails(AGENT_EBUSY);
    kit_add(AG_OP_RUN_CANCEL)->run_cancel.run_id = held->out_run_id;
    kit_ok();
    (void)enqueue("s", 0); /* nobody holds it: it goes with its agent */
    kit_add(AG_OP_AGENT_RM)->name.name = S("bob");
    kit_ok();
    ck_assert(!look().has_waiting);
    close_checked();
}
END_TEST

START_TEST(a_long_reason_is_cut_between_two_characters)
{
    static const enum agent_effect acts[] = {AGENT_EFFECT_EFFECT};
    struct ag_op_run_create *run;
    struct ag_op_run_claim *claim;
    char reason[512];

    open_with_bob(_i);
    memset(reason, 'x', sizeof(reason));
    memcpy(reason + 399, "\xc3\xa9", 3); /* its second byte is the 401st */
    run = kit_calling("bob", "s", 1, acts);
    claim = &kit_add(AG_OP_RUN_CLAIM)->run_claim;
    claim->run_id = run->out_run_id;
    claim->force = true;
    kit_ok();
    kit_add(AG_OP_RUN_DECIDE)->run_decide =
        (struct ag_op_run_decide){.run_id = run->out_run_id, .reason = ag_str_of(reason)};
    kit_ok();
    reason[399] = '\0';
    ck_assert_ptr_nonnull(strstr(kit_rows(AGENT_VIEW_TOOL_CALLS, NULL, "decision result"), reason));
    ck_assert_ptr_null(strstr(kit_rows(AGENT_VIEW_TOOL_CALLS, NULL, "decision result"), "\xc3"));
    close_checked();
}
END_TEST

Suite *store_queue_suite(void);
Suite *store_queue_suite(void)
{
    Suite *suite = suite_create("store queue");
    TCase *queue = tcase_create("queue");

    tcase_set_timeout(queue, 60);
    tcase_add_loop_test(queue, an_empty_queue_gives_nothing, 0, KIT_LAST);
    tcase_add_loop_test(queue, what_is_taken_runs_and_says_all_that_a_claim_says, 0, KIT_LAST);
    tcase_add_loop_test(queue, high_comes_before_normal_before_low_and_each_in_the_order_it_came, 0, KIT_LAST);
    tcase_add_loop_test(queue, who_waited_counts_one_class_higher_for_each_age, 0, KIT_LAST);
    tcase_add_loop_test(queue, of_a_session_one_run_is_taken_and_its_end_lets_the_next_one_come, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_run_that_somebody_waits_with_is_not_taken, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_queued_run_that_is_cancelled_is_not_taken_and_the_next_one_is, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_run_that_waits_for_a_decision_holds_nobody_up_and_comes_back_decided, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_turn_behind_one_that_came_to_wait_may_be_taken, 0, KIT_LAST);
    tcase_add_loop_test(queue, what_is_claimed_by_its_number_is_not_in_the_queue_any_more, 0, KIT_LAST);
    tcase_add_loop_test(queue, what_is_removed_is_not_in_the_queue_any_more, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_unit_that_fails_after_it_took_runs_leaves_them_in_the_queue, 0, KIT_LAST);
    tcase_add_loop_test(queue, what_becomes_ready_late_takes_its_place_by_its_number, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_full_queue_refuses_the_next_run_and_says_which_limit, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_turn_that_will_not_wait_is_refused_behind_another_and_leaves_nothing, 0, KIT_LAST);
    tcase_add_loop_test(queue, who_is_behind_a_run_of_ours_is_told_so_and_whose_turn_is_next, 0, KIT_LAST);
    tcase_add_loop_test(queue, an_agent_with_a_run_that_somebody_waits_with_is_not_removed, 0, KIT_LAST);
    tcase_add_loop_test(queue, a_long_reason_is_cut_between_two_characters, 0, KIT_LAST);
    suite_add_tcase(suite, queue);
    return suite;
}
