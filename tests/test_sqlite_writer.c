/*
 * The writer of the SQLite store: batches and the units that fail in them, full and failing disks,
 * locks that somebody else holds, the -wal, and the token that tells foreign commits from own ones.
 */
#include <stdatomic.h>

#include "fault_vfs.h"
#include "sqlite_kit.h"
#include "storage/sqlite/impl.h"

static struct ag_sq_store *inner(void)
{
    return (struct ag_sq_store *)store;
}

/* --- transactions ------------------------------------------------------------------------------------- */

static struct waiting *bad_unit(void) /* writes, then fails */
{
    struct waiting *w = agent_unit("ghost");

    add_op(w, AG_OP_TOOL_RM)->name.name = S("no such tool");
    return w;
}

START_TEST(a_failing_unit_in_a_batch_is_undone_alone)
{
    struct waiting *units[6];

    open_store();
    make_agent("demo");
    units[0] = new_unit(NOW);
    (void)create_in(units[0], "one", "a", true); /* brings the owner into this very transaction */
    units[1] = bad_unit();
    units[2] = new_unit(NOW);
    (void)create_in(units[2], "two", "b", true);
    units[3] = agent_unit("more");
    units[4] = bad_unit();
    units[5] = new_unit(NOW);
    (void)create_in(units[5], "one", "c", true);
    for (int i = 0; i < 6; i++)
        ck_assert(!ag_store_submit(store, &units[i]->unit));
    ag_store_flush(store);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(wait_for(units[i]), i == 1 || i == 4 ? AGENT_ENOTFOUND : AGENT_OK);
    ask_is("SELECT name FROM agent ORDER BY name", "demo\nmore");
    ask_is("SELECT input, status FROM run ORDER BY id", "a running\nb running\nc queued");
    ask_is("SELECT count(DISTINCT owner_id) FROM run WHERE owner_id IN (SELECT o.id FROM owner o)", "1");
    ck_assert_str_eq(findings(store), "");
}
END_TEST

START_TEST(an_owner_that_a_failing_unit_brought_is_undone_with_it)
{
    struct waiting *w = new_unit(NOW), *good = new_unit(NOW);

    open_store();
    make_agent("demo");
    (void)create_in(w, NULL, "a", true);
    add_op(w, AG_OP_TOOL_RM)->name.name = S("no such tool");
    (void)create_in(good, NULL, "b", true);
    ck_assert(!ag_store_submit(store, &w->unit));
    ck_assert(!ag_store_submit(store, &good->unit));
    ag_store_flush(store);
    ck_assert_int_eq(wait_for(w), AGENT_ENOTFOUND);
    ck_assert_int_eq(wait_for(good), AGENT_OK);
    ask_is("SELECT input, owner_id IN (SELECT o.id FROM owner o) FROM run", "b 1");
    ck_assert(ag_owner_alive(inner(), atomic_load(&inner()->owners.id)));
}
END_TEST

START_TEST(a_full_disk_fails_the_unit_with_a_remedy_and_passes)
{
    char big[70000];
    struct waiting *w = new_unit(NOW);
    struct ag_op_run_create *c;
    int64_t pages, ignored;

    open_store();
    make_agent("demo");
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    ck_assert_int_eq(ag_db_int(&inner()->a, "PRAGMA page_count", &pages, &err), AGENT_OK);
    ck_assert_int_eq(ag_db_int(&inner()->a, ag_arena_printf(&arena, "PRAGMA max_page_count=%d", (int)pages + 3),
                               &ignored, &err), AGENT_OK);
    c = create_in(w, NULL, big, true);
    ck_assert_int_eq(commit(w), AGENT_ESTORAGE);
    ck_assert_int_eq(err.detail & 0xff, SQLITE_FULL);
    ck_assert_msg(strstr(err.text, "no space left") != NULL && strstr(err.hint, "free space") != NULL, "%s", err.text);
    ask_is("SELECT count(*) FROM run", "0");
    ck_assert_int_eq(ag_db_int(&inner()->a, "PRAGMA max_page_count=1000000", &ignored, &err), AGENT_OK);
    c = make_run(NULL, big, true); /* the same connection goes on */
    finish_run(c, "fine");
    ck_assert_str_eq(findings(store), "");
}
END_TEST

START_TEST(on_a_full_disk_the_units_that_fit_are_committed)
{
    char big[70000];
    struct waiting *small = agent_unit("small"), *large = new_unit(NOW);
    int64_t pages, ignored;

    open_store();
    make_agent("demo");
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    ck_assert_int_eq(ag_db_int(&inner()->a, "PRAGMA page_count", &pages, &err), AGENT_OK);
    ck_assert_int_eq(ag_db_int(&inner()->a, ag_arena_printf(&arena, "PRAGMA max_page_count=%d", (int)pages + 3),
                               &ignored, &err), AGENT_OK);
    (void)create_in(large, NULL, big, true);
    ck_assert(!ag_store_submit(store, &large->unit));
    ck_assert(!ag_store_submit(store, &small->unit));
    ag_store_flush(store);
    ck_assert_int_eq(wait_for(large), AGENT_ESTORAGE);
    ck_assert_int_eq(wait_for(small), AGENT_OK);
    ask_is("SELECT name FROM agent", "demo\nsmall");
}
END_TEST

static int64_t fake_now;

static int64_t fake_mono(void *ctx)
{
    (void)ctx;
    return fake_now;
}

static int64_t fake_unix(void *ctx)
{
    (void)ctx;
    return NOW;
}

static const ag_clock fake_clock = {fake_unix, fake_mono, NULL};

static struct waiting *journal_unit(const struct ag_op_run_create *run, const char *text)
{
    struct waiting *w = new_unit(NOW);

    w->unit.lazy = true;
    w->unit.fence_run_id = run->out_run_id;
    w->unit.fence_attempt = run->out_attempt;
    add_op(w, AG_OP_JOURNAL)->journal = (struct ag_op_journal){.run_id = run->out_run_id, .number = 1,
                                                               .text = ag_str_of(text)};
    return w;
}

START_TEST(a_lazy_unit_waits_for_a_ride_or_a_quarter_second)
{
    struct ag_store_options o = options_of(db_path);
    struct ag_op_run_create *run;
    struct waiting *first, *second;

    o.clock = &fake_clock;
    open_store_with(&o);
    make_agent("demo");
    run = make_run(NULL, "hi", true);
    first = journal_unit(run, "Hel");
    ck_assert(!ag_store_submit(store, &first->unit));
    ag_store_flush(store);
    ck_assert(!first->done);
    make_agent("ride");
    ck_assert(first->done);
    second = journal_unit(run, "lo");
    ck_assert(!ag_store_submit(store, &second->unit));
    fake_now += 249000000;
    ag_store_flush(store);
    ck_assert(!second->done);
    fake_now += 2000000;
    ag_store_flush(store);
    ck_assert(second->done);
    ask_is("SELECT group_concat(text, '') FROM (SELECT text FROM journal ORDER BY id)", "Hello");
    finish_run(run, "Hello");
    ask_is("SELECT count(*) FROM journal", "0");
}
END_TEST

START_TEST(a_journal_longer_than_its_chunks_keeps_all_of_it)
{
    struct ag_op_run_create *run;

    open_store();
    make_agent("demo");
    run = make_run(NULL, "hi", true);
    for (int i = 0; i < 600; i++) {
        struct waiting *w = journal_unit(run, "0123456789");

        w->unit.lazy = false;
        commit_ok(w);
    }
    ask_is("SELECT count(*), sum(length(text)), min(id >> 21), max(id >> 9 & 4095) FROM journal", "512 6000 1 1");
    finish_run(run, "x");
    ask_is("SELECT count(*) FROM journal", "0");
}
END_TEST

START_TEST(a_lazy_unit_is_committed_by_the_writer_itself)
{
    struct ag_op_run_create *run;
    struct waiting *w;

    open_threaded();
    make_agent("demo");
    run = make_run(NULL, "hi", true);
    w = journal_unit(run, "alone");
    ck_assert_int_eq(commit(w), AGENT_OK);
    ask_is("SELECT text FROM journal", "alone");
}
END_TEST

START_TEST(a_stranger_who_holds_the_lock_is_named_by_pid)
{
    struct ag_store_options o = options_of(db_path);
    int hold[2], go[2], status;
    char byte, pid_text[32];
    pid_t pid;

    o.busy_timeout_ms = 100;
    open_store_with(&o);
    make_agent("demo");
    close_store();
    ck_assert_int_eq(pipe(hold), 0);
    ck_assert_int_eq(pipe(go), 0);
    if ((pid = fork()) == 0) {
        sqlite3 *db = stranger();

        run_sql(db, "BEGIN IMMEDIATE");
        (void)!write(hold[1], "x", 1);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    open_store_with(&o);
    ck_assert_int_eq(read(hold[0], &byte, 1), 1);
    ck_assert_int_eq(commit(agent_unit("late")), AGENT_EBUSY);
    (void)snprintf(pid_text, sizeof(pid_text), "PID %d", (int)pid);
    ck_assert_msg(strstr(err.text, pid_text) != NULL, "%s", err.text);
    ck_assert_msg(strstr(err.text, db_path) != NULL && err.hint[0] != '\0', "%s", err.text);
    (void)!write(go[1], "x", 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    make_agent("late"); /* the same store, once it is free */
    for (int i = 0; i < 2; i++) {
        (void)close(hold[i]);
        (void)close(go[i]);
    }
}
END_TEST

START_TEST(after_its_wal_was_deleted_nothing_is_acknowledged_any_more)
{
    open_store();
    make_agent("demo");
    ck_assert_int_eq(unlink(in_folder("a.db-wal")), 0);
    ck_assert_int_eq(commit(agent_unit("lost")), AGENT_ESTORAGE);
    ck_assert_msg(strstr(err.text, "-wal was deleted") != NULL, "%s", err.text);
    ck_assert_int_eq(commit(agent_unit("lost too")), AGENT_ESTORAGE);
    ck_assert_msg(strstr(err.hint, "open the file again") != NULL, "%s", err.hint);
    close_store();
    open_store();
    make_agent("found");
}
END_TEST

START_TEST(a_reader_sees_what_was_acknowledged)
{
    open_threaded();
    make_agent("demo");
    for (int i = 1; i <= 50; i++) {
        int rows = 0;

        (void)make_run(NULL, "hi", false);
        ck_assert_int_eq(ag_reader_scan(reader, AGENT_VIEW_RUNS, NULL, count_rows, &rows, &err), AGENT_OK);
        ck_assert_int_eq(rows, i);
    }
}
END_TEST

static int64_t wal_bytes(void)
{
    struct stat st;

    return stat(in_folder("a.db-wal"), &st) == 0 ? (int64_t)st.st_size : 0;
}

START_TEST(the_wal_stays_small_under_load)
{
    char text[3000];

    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    open_threaded();
    make_agent("demo");
    for (int i = 0; i < 3000; i++)
        (void)make_run(NULL, text, false);
    ck_assert_int_lt(wal_bytes(), 8 << 20);
    ck_assert_ptr_nonnull(inner()->b.db); /* it did checkpoint */
}
END_TEST

START_TEST(a_reader_that_stands_still_only_lets_the_wal_grow)
{
    char text[3000];
    sqlite3 *slow;

    memset(text, 'z', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    open_store();
    make_agent("demo");
    slow = stranger();
    run_sql(slow, "BEGIN; SELECT count(*) FROM run");
    for (int i = 0; i < 1500; i++)
        (void)make_run(NULL, text, false);
    ck_assert_int_gt(wal_bytes(), 4 << 20);
    ck_assert_str_eq(ask_on(slow, "SELECT count(*) FROM run"), "0");
    run_sql(slow, "COMMIT");
    (void)sqlite3_close(slow);
    for (int i = 0; i < 1500; i++)
        (void)make_run(NULL, text, false);
    ck_assert_int_lt(inner()->wal_pages, 2000); /* begun anew */
    ask_is("SELECT count(*) FROM run", "3000");
}
END_TEST

/* --- a disk that fails ------------------------------------------------------------------------------------ */

static const struct {
    const char *what;
    enum fault_kind kind;
    bool stays;
} disks[] = {
    {"a write fails once", FAULT_WRITE, false}, {"writes fail from then on", FAULT_WRITE, true},
    {"the disk is full once", FAULT_FULL, false}, {"the disk is full from then on", FAULT_FULL, true},
    {"a sync fails once", FAULT_SYNC, false},    {"syncs fail from then on", FAULT_SYNC, true},
};

enum { FAULT_TURNS = 2 };

/* For every k: the k-th call fails. Whatever it was for, what was acknowledged is there after the
 * file was opened again, and what was refused is not half there. */
START_TEST(no_fault_of_the_disk_loses_or_tears_what_was_acknowledged)
{
    bool reached = true;

    fault_vfs_begin();
    for (int k = 1; reached; k++) {
        struct ag_op_run_create *runs[FAULT_TURNS];
        bool begun[FAULT_TURNS] = {false}, ended[FAULT_TURNS] = {false}, refused = false;

        (void)snprintf(db_path, sizeof(db_path), "%s/%d.db", folder, k);
        open_store();
        make_agent("demo");
        fault.calls = fault.fired = 0;
        fault.at = k;
        fault.stays = disks[_i].stays;
        fault.kind = disks[_i].kind;
        for (int i = 0; i < FAULT_TURNS; i++) {
            struct waiting *w = new_unit(NOW);

            runs[i] = create_in(w, NULL, "hi", true);
            begun[i] = commit(w) == AGENT_OK;
            refused |= !begun[i];
            if (!begun[i])
                ck_assert_msg(err.status == AGENT_ESTORAGE && err.hint[0] != '\0', "%s: %s", disks[_i].what, err.text);
            /* Once a sync has failed nothing is acknowledged any more, though the disk may work again. */
            ck_assert(!(fault.kind == FAULT_SYNC && fault.fired > 0 && begun[i]));
            if (begun[i])
                ended[i] = commit(end_unit(runs[i], "x")) == AGENT_OK;
            refused |= begun[i] && !ended[i];
        }
        ck_assert_msg(fault.fired == 0 || refused, "%s, call %d: nobody was told", disks[_i].what, k);
        close_store(); /* folds the -wal in: its writes and syncs fail too */
        reached = fault.fired > 0;
        fault.kind = FAULT_NONE;
        open_store();
        ck_assert_msg(strcmp(findings(store), "") == 0, "%s, call %d: %s", disks[_i].what, k, findings(store));
        for (int i = 0; i < FAULT_TURNS; i++) {
            const char *status;

            if (!begun[i])
                continue;
            status = ask(ag_arena_printf(&arena, "SELECT status FROM run WHERE id = %d", (int)runs[i]->out_run_id));
            ck_assert_msg(strcmp(status, ended[i] ? "succeeded" : "running") == 0 ||
                              (!ended[i] && strcmp(status, "succeeded") == 0 && disks[_i].kind == FAULT_SYNC),
                          "%s, call %d: run %d is '%s'", disks[_i].what, k, (int)runs[i]->out_run_id, status);
        }
        make_agent("goes on");
        close_store();
        ck_assert_int_lt(k, 2000);
    }
    fault_vfs_end();
}
END_TEST

/* --- change token ---------------------------------------------------------------------------------------- */

START_TEST(the_token_moves_with_every_foreign_commit_and_only_then)
{
    uint64_t token;

    open_store();
    make_agent("demo");
    ck_assert(inner()->token.header != NULL);
    token = ag_store_change_token(store);
    for (int i = 0; i < 20; i++) {
        finish_run(make_run(NULL, "hi", true), "x");
        ck_assert_uint_eq(ag_store_change_token(store), token);
    }
    for (int i = 0; i < 20; i++) {
        uint64_t moved;

        change_by_hand("UPDATE agent SET updated_at_ms = updated_at_ms + 1");
        moved = ag_store_change_token(store);
        ck_assert_uint_ne(moved, token);
        token = moved;
        if (i % 3 == 0) {
            (void)make_run(NULL, "hi", true); /* takes it in, and does not hide it */
            ck_assert_uint_eq(ag_store_change_token(store), token);
        }
    }
}
END_TEST

static atomic_bool watching;

static void *watch(void *arg)
{
    uint64_t token = ag_store_change_token(arg);
    intptr_t changes = 0;

    while (atomic_load(&watching))
        if (ag_store_change_token(arg) != token) {
            token = ag_store_change_token(arg);
            changes++;
        }
    return (void *)changes;
}

START_TEST(a_thread_that_watches_never_mistakes_an_own_commit)
{
    pthread_t thread;
    void *changes;

    open_threaded();
    make_agent("demo");
    atomic_store(&watching, true);
    ck_assert_int_eq(pthread_create(&thread, NULL, watch, store), 0);
    for (int i = 0; i < 500; i++)
        (void)make_run(NULL, "hi", false);
    atomic_store(&watching, false);
    ck_assert_int_eq(pthread_join(thread, &changes), 0);
    ck_assert_int_eq((intptr_t)changes, 0);
}
END_TEST

START_TEST(where_the_wal_index_is_not_to_be_trusted_sqlite_is_asked)
{
    uint64_t token;

    open_store();
    make_agent("demo");
    atomic_store(&inner()->token.broken, true);
    token = ag_store_change_token(store);
    change_by_hand("UPDATE agent SET updated_at_ms = 1");
    for (int i = 0; i < 200 && ag_store_change_token(store) == token; i++)
        (void)usleep(10000);
    ck_assert_uint_ne(ag_store_change_token(store), token);
}
END_TEST

Suite *sqlite_writer_suite(void);
Suite *sqlite_writer_suite(void)
{
    Suite *suite = suite_create("sqlite_writer");
    TCase *transactions = tcase_create("transactions"), *token = tcase_create("token");

    tcase_add_checked_fixture(transactions, begin_folder, end_folder);
    tcase_set_timeout(transactions, 120);
    tcase_add_test(transactions, a_failing_unit_in_a_batch_is_undone_alone);
    tcase_add_test(transactions, an_owner_that_a_failing_unit_brought_is_undone_with_it);
    tcase_add_test(transactions, a_full_disk_fails_the_unit_with_a_remedy_and_passes);
    tcase_add_test(transactions, on_a_full_disk_the_units_that_fit_are_committed);
    tcase_add_test(transactions, a_lazy_unit_waits_for_a_ride_or_a_quarter_second);
    tcase_add_test(transactions, a_journal_longer_than_its_chunks_keeps_all_of_it);
    tcase_add_test(transactions, a_lazy_unit_is_committed_by_the_writer_itself);
    tcase_add_test(transactions, a_stranger_who_holds_the_lock_is_named_by_pid);
    tcase_add_test(transactions, after_its_wal_was_deleted_nothing_is_acknowledged_any_more);
    tcase_add_test(transactions, a_reader_sees_what_was_acknowledged);
    tcase_add_test(transactions, the_wal_stays_small_under_load);
    tcase_add_test(transactions, a_reader_that_stands_still_only_lets_the_wal_grow);
    tcase_add_loop_test(transactions, no_fault_of_the_disk_loses_or_tears_what_was_acknowledged, 0,
                        (int)(sizeof(disks) / sizeof(disks[0])));
    suite_add_tcase(suite, transactions);

    tcase_add_checked_fixture(token, begin_folder, end_folder);
    tcase_set_timeout(token, 60);
    tcase_add_test(token, the_token_moves_with_every_foreign_commit_and_only_then);
    tcase_add_test(token, a_thread_that_watches_never_mistakes_an_own_commit);
    tcase_add_test(token, where_the_wal_index_is_not_to_be_trusted_sqlite_is_asked);
    suite_add_tcase(suite, token);
    return suite;
}
