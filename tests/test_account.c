/*
 * Whose memory it is: blocks and their accounts, and what a run's stages say about its heap, alone
 * and among others.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "tests/account_kit.h"

/* --- accounts ---------------------------------------------------------------------------------------- */

START_TEST(a_block_counts_on_the_account_it_was_made_on_until_it_is_freed)
{
    ag_account *a = ag_account_open(), *b = ag_account_open();
    struct ag_mem_charge was = ag_mem_charge(a);
    char *p = ag_malloc(1000), *q;

    (void)ag_mem_charge(b);
    q = ag_calloc(10, 100);
    ck_assert_int_eq(ag_account_bytes(a), 1000);
    ck_assert_int_eq(ag_account_bytes(b), 1000);
    ag_free(p); /* while b is charged */
    ck_assert_int_eq(ag_account_bytes(a), 0);
    ck_assert_int_eq(ag_account_bytes(b), 1000);
    ag_mem_charge_back(was);
    ag_free(q); /* while nobody is */
    ck_assert_int_eq(ag_account_bytes(b), 0);
    ag_account_close(a);
    ag_account_close(b);
}
END_TEST

START_TEST(a_block_that_grows_stays_on_its_account)
{
    ag_account *a = ag_account_open();
    struct ag_mem_charge was = ag_mem_charge(a);
    char *p = ag_malloc(16);

    memset(p, 'x', 16);
    ag_mem_charge_back(was);
    p = ag_realloc(p, 1 << 20);
    ck_assert_int_eq(ag_account_bytes(a), 1 << 20);
    ck_assert_int_eq(memcmp(p, "xxxxxxxxxxxxxxxx", 16), 0);
    p = ag_realloc(p, 8);
    ck_assert_int_eq(ag_account_bytes(a), 8);
    ag_free(p);
    ag_account_close(a);
}
END_TEST

START_TEST(a_block_that_is_nobodys_stays_so_and_is_aligned_for_everything)
{
    ag_account *a = ag_account_open();
    char *p = ag_malloc(1);
    struct ag_mem_charge was = ag_mem_charge(a);

    ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
    p = ag_realloc(p, 5000);
    ck_assert_int_eq(ag_account_bytes(a), 0);
    ag_free(p);
    ck_assert_int_eq(ag_account_bytes(a), 0);
    ag_mem_charge_back(was);
    ag_account_close(a);
}
END_TEST

START_TEST(every_size_is_whole_and_counts_at_least_a_word)
{
    ag_account *a = ag_account_open();
    struct ag_mem_charge was = ag_mem_charge(a);

    for (size_t n = 0; n < 200; n++) {
        unsigned char *p = ag_calloc(1, n);

        ck_assert_uint_eq((uintptr_t)p % 8, 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_int_eq(p[i], 0);
        memset(p, 0xff, n);
        ck_assert_uint_ge(ag_mem_size(p), n);
        ck_assert_int_eq(ag_account_bytes(a), n == 0 ? 8 : (int64_t)((n + 7) / 8 * 8));
        ag_free(p);
    }
    ag_mem_charge_back(was);
    ag_account_close(a);
}
END_TEST

START_TEST(what_is_too_large_is_refused_and_costs_nothing)
{
    ag_account *a = ag_account_open();
    struct ag_mem_charge was = ag_mem_charge(a);
    volatile size_t most = SIZE_MAX;
    char *p = ag_malloc(32);

    ck_assert_ptr_null(ag_malloc(most));
    ck_assert_ptr_null(ag_calloc(most / 2, 3));
    ck_assert_ptr_null(ag_realloc(p, most - 8));
    ck_assert_int_eq(ag_account_bytes(a), 32);
    ag_free(p);
    ag_mem_charge_back(was);
    ag_account_close(a);
}
END_TEST

START_TEST(an_account_outlives_its_closing_until_its_last_block_is_freed)
{
    ag_account *a = ag_account_open();
    struct ag_mem_charge was = ag_mem_charge(a);
    char *p = ag_malloc(100), *q = ag_malloc(0);

    ag_mem_charge_back(was);
    ag_account_close(a);
    ag_free(p); /* a sanitizer would tell, were the account gone */
    q = ag_realloc(q, 64);
    ag_free(q);
}
END_TEST

START_TEST(the_peak_is_the_most_since_it_was_reset)
{
    ag_account *a = ag_account_open();
    struct ag_mem_charge was = ag_mem_charge(a);
    char *p = ag_malloc(4096), *q = ag_malloc(1024);

    ag_free(p);
    ck_assert_int_eq(ag_account_peak(a), 5120);
    ck_assert_int_eq(ag_account_mark(a), 1024);
    ck_assert_int_eq(ag_account_peak(a), 1024);
    ag_account_add(a, 8192, true); /* from beside, as a callback's memory */
    ck_assert_int_eq(ag_account_peak(a), 9216);
    ag_account_add(a, -8192, true);
    ck_assert_int_eq(ag_account_bytes(a), 1024);
    ag_free(q);
    ag_mem_charge_back(was);
    ag_account_close(a);
}
END_TEST

START_TEST(the_nth_allocation_fails_also_on_an_account)
{
    ag_account *a = ag_account_open();
    struct ag_mem_charge was = ag_mem_charge(a);
    char *p;

    (void)ag_mem_fail_at(2);
    p = ag_malloc(10);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_null(ag_malloc(10));
    ck_assert_uint_eq(ag_mem_fail_at(0), 2);
    ag_free(p);
    ck_assert_int_eq(ag_account_bytes(a), 0);
    ag_mem_charge_back(was);
    ag_account_close(a);
}
END_TEST

#define CROWD  8
#define BLOCKS 2000

struct crowd {
    ag_account *account;
    void *_Atomic box[64]; /* blocks that one thread made and another frees */
};

static void *work_beside(void *arg)
{
    struct crowd *c = arg;
    struct ag_mem_charge was = ag_mem_charge_away(c->account);
    unsigned seed = (unsigned)(uintptr_t)&was;

    for (int i = 0; i < BLOCKS; i++) {
        seed = seed * 1103515245 + 12345;
        ag_free(atomic_exchange(&c->box[seed >> 16 & 63], ag_malloc(seed >> 8 & 0xfff)));
    }
    ag_mem_charge_back(was);
    return NULL;
}

START_TEST(many_threads_lose_no_byte_of_an_account)
{
    static struct crowd c;
    pthread_t threads[CROWD];
    struct ag_mem_charge was;

    c.account = ag_account_open();
    for (int i = 0; i < CROWD; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work_beside, &c), 0);
    was = ag_mem_charge(c.account); /* and its home goes on meanwhile */
    for (int i = 0; i < BLOCKS; i++)
        ag_free(atomic_exchange(&c.box[i & 63], ag_malloc((size_t)i)));
    for (int i = 0; i < CROWD; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 64; i++)
        ag_free(atomic_exchange(&c.box[i], NULL));
    ck_assert_int_eq(ag_account_bytes(c.account), 0);
    ck_assert_int_gt(ag_account_peak(c.account), 0);
    ag_mem_charge_back(was);
    ag_account_close(c.account);
}
END_TEST

static void *free_last(void *arg)
{
    ag_free(arg);
    return NULL;
}

START_TEST(the_last_block_may_be_freed_on_another_thread_while_the_account_closes)
{
    for (int i = 0; i < 200; i++) {
        ag_account *a = ag_account_open();
        struct ag_mem_charge was = ag_mem_charge(a);
        void *p = ag_malloc(64);
        pthread_t thread;

        ag_mem_charge_back(was);
        ck_assert_int_eq(pthread_create(&thread, NULL, free_last, p), 0);
        ag_account_close(a);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
}
END_TEST

/* --- stages ---------------------------------------------------------------------------------------------- */

#define HELD (64 * MB)

static agent_status hold_64_mb(void *ctx, agent_tool_call *call, agent_error *e)
{
    const struct timespec ms300 = {0, 300000000};
    char *p = agent_tool_alloc(call, (size_t)HELD);
    uint64_t mark;

    (void)ctx;
    (void)e;
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
    memset(p, 1, (size_t)HELD);
    mark = ag_sampler_mark(&engine->sampler);
    do /* until somebody looked, however busy the machine is */
        (void)nanosleep(&ms300, NULL);
    while (engine->sampler.wants_thread && ag_sampler_mark(&engine->sampler) < mark + 2);
    agent_tool_free(call, p);
    agent_tool_call_write(call, "held", 4);
    return AGENT_OK;
}

/* Whether it is 64 MB in the stage `tool` and nowhere else. */
static void expect_held(const struct stages *all)
{
    for (int i = 0; i < all->count; i++) {
        const struct stage *s = &all->at[i];

        ck_assert_str_eq(s->includes, "own");
        if (strcmp(s->name, "tool") != 0) {
            ck_assert_msg(s->heap_peak < MB, "%s: %lld", s->name, (long long)s->heap_peak);
            continue;
        }
        ck_assert_int_ge(s->heap_peak, HELD * 97 / 100);
        ck_assert_int_le(s->heap_peak, HELD * 103 / 100);
        ck_assert_int_lt(s->heap_net, MB);
    }
}

START_TEST(memory_of_a_callback_is_in_its_own_stage_and_nowhere_else)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;

    o.workers = _i;
    engine_open(o);
    tool_make("hold", hold_64_mb, NULL);
    agent_make("holder", NULL, "hold");
    all = stages_of(run_end(run_start("holder", "/tool hold {}")));
    expect_held(&all);
    if (!SANITIZED) { /* touched, so it is in the process's RSS too, which was nobody else's */
        const struct stage *s = stage_in(&all, "tool");

        ck_assert_str_eq(s->attribution, "exclusive");
        if (_i > 0) { /* somebody looked while it was held */
            ck_assert_int_ge(s->rss_peak - s->rss_before, HELD * 97 / 100);
            ck_assert_int_le(s->rss_peak - s->rss_before, HELD * 103 / 100 + 2 * MB);
            ck_assert_str_eq(s->peak_source, "samples");
        }
    }
}
END_TEST

START_TEST(memory_of_a_callback_is_not_in_the_100_runs_beside_it)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_run *holder, *others[100];
    struct stages all;

    o.workers = 2;
    engine_open(o);
    tool_make("hold", hold_64_mb, NULL);
    agent_make("holder", NULL, "hold");
    agent_make("other", "{\"latency_ms\":20,\"chunks\":10,\"chunk_ms\":20}", NULL);
    for (int i = 0; i < 50; i++)
        others[i] = run_start("other", "hello");
    holder = run_start("holder", "/tool hold {}");
    for (int i = 50; i < 100; i++)
        others[i] = run_start("other", "hello");
    for (int i = 0; i < 100; i++) {
        all = stages_of(run_end(others[i]));
        ck_assert_int_ge(all.count, 6);
        for (int s = 0; s < all.count; s++)
            ck_assert_int_lt(all.at[s].heap_peak, MB);
    }
    all = stages_of(run_end(holder));
    expect_held(&all);
    ck_assert_str_eq(stage_in(&all, "tool")->attribution, "shared");
}
END_TEST

START_TEST(a_run_holds_the_same_heap_alone_and_among_a_thousand)
{
    enum { MANY = SANITIZED ? 100 : 1000 };
    static agent_run *runs[MANY];
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages alone, among;

    o.workers = 2;
    engine_open(o);
    agent_make("a", "{\"latency_ms\":5,\"answer\":\"the same for all\"}", NULL);
    (void)run_end(run_start("a", "warm")); /* who comes first fills the caches */
    alone = stages_of(run_end(run_start("a", "hello")));
    ck_assert_int_eq(alone.count, 6);
    for (int i = 0; i < MANY; i++)
        runs[i] = run_start("a", "hello");
    for (int i = 0; i < MANY; i++) {
        among = stages_of(run_end(runs[i]));
        ck_assert_int_eq(among.count, alone.count);
        for (int s = 0; s < alone.count; s++) {
            ck_assert_str_eq(among.at[s].name, alone.at[s].name);
            ck_assert_msg(among.at[s].heap_peak == alone.at[s].heap_peak && among.at[s].heap_net == alone.at[s].heap_net,
                          "run %d, %s: peak %lld net %lld, alone %lld %lld", i, among.at[s].name,
                          (long long)among.at[s].heap_peak, (long long)among.at[s].heap_net,
                          (long long)alone.at[s].heap_peak, (long long)alone.at[s].heap_net);
        }
    }
}
END_TEST

static agent_status use_heap(void *ctx, agent_tool_call *call, agent_error *e)
{
    char *p = agent_tool_alloc(call, 3 * (size_t)MB), *q = agent_tool_alloc(call, (size_t)MB);
    char *r = agent_tool_realloc(call, NULL, 100);

    (void)ctx;
    (void)e;
    memset(p, 7, 3 * (size_t)MB);
    p = agent_tool_realloc(call, p, 5 * (size_t)MB);
    ck_assert_int_eq(p[3 * MB - 1], 7);
    agent_tool_free(call, q);
    agent_tool_free(call, NULL);
    ck_assert_ptr_null(agent_tool_alloc(call, (size_t)PTRDIFF_MAX));
    ck_assert_ptr_null(agent_tool_realloc(call, r, (size_t)PTRDIFF_MAX));
    r[99] = 1; /* it is still there */
    return AGENT_OK;
}

START_TEST(what_a_callback_did_not_free_is_freed_when_it_returns)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;
    const struct stage *s;

    o.workers = 1;
    engine_open(o);
    tool_make("use", use_heap, NULL);
    agent_make("a", NULL, "use");
    all = stages_of(run_end(run_start("a", "/tool use {}")));
    s = stage_in(&all, "tool");
    ck_assert_int_ge(s->heap_peak, 6 * MB);
    ck_assert_int_lt(s->heap_peak, 7 * MB);
    ck_assert_int_lt(s->heap_net, MB);
}
END_TEST

static agent_status write_1_mb(void *ctx, agent_tool_call *call, agent_error *e)
{
    static char text[1 << 20];

    (void)ctx;
    (void)e;
    memset(text, 'w', sizeof(text));
    agent_tool_call_write(call, text, sizeof(text));
    return AGENT_OK;
}

START_TEST(the_result_of_a_tool_is_on_the_account_of_its_run)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_tool tool = AGENT_TOOL_INIT;
    struct stages all;

    o.workers = _i;
    engine_open(o);
    tool.name = "write";
    tool.call = write_1_mb;
    tool.max_output_bytes = 2 * MB;
    ck_assert_int_eq(agent_tool_register(engine, &tool, &err), AGENT_OK);
    agent_make("a", "{\"answer\":\"done\"}", "write");
    all = stages_of(run_end(run_start("a", "/tool write {}")));
    ck_assert_int_ge(stage_in(&all, "tool")->heap_net, MB); /* its message is held until the run ends */
}
END_TEST

START_TEST(the_output_of_a_command_is_on_the_account_of_its_run)
{
    static const char *const argv[] = {"sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x", NULL};
    agent_options o = AGENT_OPTIONS_INIT;
    agent_command c = AGENT_COMMAND_INIT;
    struct stages all;

    o.workers = _i;
    engine_open(o);
    c.name = "print";
    c.argv = argv;
    ck_assert_msg(agent_command_put(engine, &c, false, &err) == AGENT_OK, "%s", err.text);
    agent_make("a", "{\"answer\":\"done\"}", "print");
    all = stages_of(run_end(run_start("a", "/tool print {}")));
    ck_assert_int_ge(stage_in(&all, "tool")->heap_peak, 400000); /* as it came, and as it is kept */
    ck_assert_int_ge(stage_in(&all, "tool")->heap_net, 200000);
}
END_TEST

static agent_status provide(void *ctx, const agent_model_request *q, agent_reply *reply, agent_error *e)
{
    static char text[1 << 16];

    (void)ctx;
    (void)q;
    (void)e;
    memset(text, 'p', sizeof(text));
    for (int i = 0; i < 16; i++)
        agent_reply_text(reply, text, sizeof(text));
    return AGENT_OK;
}

START_TEST(the_answer_of_a_hosts_provider_is_on_the_account_of_its_run)
{
    agent_options o = AGENT_OPTIONS_INIT;
    agent_provider p = {.size = sizeof(p)};
    agent_config c = AGENT_CONFIG_INIT;
    struct stages all;

    o.workers = 2;
    engine_open(o);
    p.name = "mine";
    p.complete = provide;
    ck_assert_msg(agent_provider_register(engine, &p, &err) == AGENT_OK, "%s", err.text);
    c.model = "mine:m";
    ck_assert_msg(agent_create(engine, "a", &c, AGENT_CREATE_NEW, NULL, &err) == AGENT_OK, "%s", err.text);
    all = stages_of(run_end(run_start("a", "hello")));
    ck_assert_int_ge(stage_in(&all, "respond")->heap_peak, MB);
}
END_TEST

START_TEST(without_accounts_heap_figures_are_unknown_and_nothing_else)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;

    o.workers = _i;
    o.no_heap_accounts = true;
    engine_open(o);
    tool_make("use", use_heap, NULL);
    agent_make("a", NULL, "use");
    all = stages_of(run_end(run_start("a", "/tool use {}")));
    ck_assert_int_ge(all.count, 8);
    for (int i = 0; i < all.count; i++) {
        ck_assert_int_eq(all.at[i].heap_peak, UNKNOWN);
        ck_assert_int_eq(all.at[i].heap_net, UNKNOWN);
        ck_assert_str_eq(all.at[i].includes, "NULL");
        ck_assert_int_gt(all.at[i].rss_peak, 0);
    }
}
END_TEST

/* --- the libraries below ------------------------------------------------------------------------------------- */

/* The hooks are the process's, so each look at them has one of its own. */
static int in_child(int (*work)(void))
{
    pid_t pid = fork();
    int status = 0;

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(work());
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int hooked_run(void)
{
    agent_options o = AGENT_OPTIONS_INIT;
    struct stages all;

    if (agent_memory_hooks(AGENT_MEMORY_JSON | AGENT_MEMORY_SQLITE | AGENT_MEMORY_CURL, &err) != AGENT_OK)
        return 2;
    o.workers = 0;
    o.path = path;
    engine_open(o);
    agent_make("a", "{\"answer\":\"yes\"}", "calc");
    all = stages_of(run_end(run_start("a", "/tool calc {\"expression\":\"1+1\"}")));
    for (int i = 0; i < all.count; i++)
        if (strcmp(all.at[i].includes, "own+json+sqlite+curl") != 0)
            return 3;
    /* LOAD reads rows: what SQLite takes for that is in it. */
    if (stage_in(&all, "load")->heap_peak <= stage_in(&all, "queue")->heap_peak)
        return 4;
    agent_close(engine);
    engine = NULL;
    return 0;
}

START_TEST(with_the_hooks_a_figure_says_that_it_includes_the_libraries)
{
    ck_assert_int_eq(in_child(hooked_run), 0);
}
END_TEST

static int hooked_late(void)
{
    agent_options o = AGENT_OPTIONS_INIT;

    o.path = path;
    o.workers = 0;
    engine_open(o);
    if (agent_memory_hooks(AGENT_MEMORY_SQLITE, &err) != AGENT_EBUSY || strstr(err.text, "SQLite") == NULL)
        return 2;
    agent_close(engine);
    engine = NULL;
    return agent_memory_hooks(64, &err) == AGENT_EINVAL ? 0 : 3;
}

START_TEST(hooks_that_come_too_late_are_refused)
{
    ck_assert_int_eq(in_child(hooked_late), 0);
}
END_TEST

Suite *account_suite(void);

Suite *account_suite(void)
{
    Suite *suite = suite_create("account");
    TCase *accounts = tcase_create("accounts"), *stages = tcase_create("stages"), *hooks = tcase_create("hooks");

    tcase_add_test(accounts, a_block_counts_on_the_account_it_was_made_on_until_it_is_freed);
    tcase_add_test(accounts, a_block_that_grows_stays_on_its_account);
    tcase_add_test(accounts, a_block_that_is_nobodys_stays_so_and_is_aligned_for_everything);
    tcase_add_test(accounts, every_size_is_whole_and_counts_at_least_a_word);
    tcase_add_test(accounts, what_is_too_large_is_refused_and_costs_nothing);
    tcase_add_test(accounts, an_account_outlives_its_closing_until_its_last_block_is_freed);
    tcase_add_test(accounts, the_peak_is_the_most_since_it_was_reset);
    tcase_add_test(accounts, the_nth_allocation_fails_also_on_an_account);
    tcase_add_test(accounts, many_threads_lose_no_byte_of_an_account);
    tcase_add_test(accounts, the_last_block_may_be_freed_on_another_thread_while_the_account_closes);
    suite_add_tcase(suite, accounts);

    tcase_add_checked_fixture(stages, folder_make, folder_remove);
    tcase_set_timeout(stages, 120);
    tcase_add_loop_test(stages, memory_of_a_callback_is_in_its_own_stage_and_nowhere_else, 0, 2);
    tcase_add_test(stages, memory_of_a_callback_is_not_in_the_100_runs_beside_it);
    tcase_add_test(stages, a_run_holds_the_same_heap_alone_and_among_a_thousand);
    tcase_add_test(stages, what_a_callback_did_not_free_is_freed_when_it_returns);
    tcase_add_loop_test(stages, the_result_of_a_tool_is_on_the_account_of_its_run, 0, 2);
    tcase_add_loop_test(stages, the_output_of_a_command_is_on_the_account_of_its_run, 0, 2);
    tcase_add_test(stages, the_answer_of_a_hosts_provider_is_on_the_account_of_its_run);
    tcase_add_loop_test(stages, without_accounts_heap_figures_are_unknown_and_nothing_else, 0, 2);
    suite_add_tcase(suite, stages);

    tcase_add_checked_fixture(hooks, folder_make, folder_remove);
    tcase_add_test(hooks, with_the_hooks_a_figure_says_that_it_includes_the_libraries);
    tcase_add_test(hooks, hooks_that_come_too_late_are_refused);
    suite_add_tcase(suite, hooks);
    return suite;
}
