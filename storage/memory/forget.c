/*
 * Removal of rows with all that hangs off them, and what the store forgets by itself: it keeps the
 * newest 4096 ended runs, and a session without a name until its last run is forgotten. Of a
 * session that stays, messages of forgotten runs go too once they are not among its newest 256.
 */
#include <stdint.h>

#include "storage/memory/ram.h"

#define ROW_LOG 2048 /* bytes of log that one row's removal takes at most */

static void item_rm(struct ag_ram *m, struct ag_ram_item *item)
{
    if (item->kind == AG_RAM_STEP) {
        struct ag_ram_step *step = (struct ag_ram_step *)item;

        ag_ram_text_unref(m, step->error);
        ag_ram_dead(m, step, sizeof(*step));
    } else {
        struct ag_ram_call *call = (struct ag_ram_call *)item;

        if (call->message != NULL) { /* the message stays: it takes what it needs of the call */
            AG_RAM_SAVE(m, call->message);
            call->message->call = NULL;
            call->message->text = ag_ram_text_ref(m, call->result);
            call->message->tool_name = call->tool; /* with its reference */
            call->message->call_id = call->call_id;
            call->message->tool_failed = item->status != AG_CALL_SUCCEEDED;
        } else {
            ag_ram_intern_unref(m, call->tool);
            ag_ram_text_unref(m, call->call_id);
        }
        ag_ram_text_unref(m, call->effect_id);
        ag_ram_text_unref(m, call->arguments);
        ag_ram_text_unref(m, call->result);
        ag_ram_text_unref(m, call->decision);
        ag_ram_dead(m, call, sizeof(*call));
    }
}

static void message_rm(struct ag_ram *m, struct ag_ram_message *msg)
{
    if (msg->call != NULL) {
        AG_RAM_SAVE(m, msg->call);
        msg->call->message = NULL;
    } else if (msg->role == AG_ROLE_TOOL) {
        ag_ram_intern_unref(m, msg->tool_name);
        ag_ram_text_unref(m, msg->call_id);
    } else {
        ag_ram_text_unref(m, msg->calls);
        ag_ram_text_unref(m, msg->extra);
    }
    ag_ram_text_unref(m, msg->text);
    ag_ram_dead(m, msg, sizeof(*msg));
    m->message_count--;
}

/* Out of its session's list and of the list of the ended. */
static void run_unlink(struct ag_ram *m, struct ag_ram_run *run)
{
    struct ag_ram_session *s = run->session;
    bool ended = ag_ram_has_ended(run);

    AG_RAM_TOUCH(m, s);
    if (run->prev != NULL) {
        AG_RAM_TOUCH(m, run->prev);
        run->prev->next = run->next;
    } else {
        *(ended ? &s->ended_first : &s->open_first) = run->next;
    }
    if (run->next != NULL) {
        AG_RAM_TOUCH(m, run->next);
        run->next->prev = run->prev;
    } else {
        *(ended ? &s->ended_last : &s->open_last) = run->prev;
    }
    if (!ended)
        return;
    if (run->ended_prev != NULL) {
        AG_RAM_TOUCH(m, run->ended_prev);
        run->ended_prev->ended_next = run->ended_next;
    } else {
        m->ended_first = run->ended_next;
    }
    if (run->ended_next != NULL) {
        AG_RAM_TOUCH(m, run->ended_next);
        run->ended_next->ended_prev = run->ended_prev;
    } else {
        m->ended_last = run->ended_prev;
    }
    m->ended_count--;
}

bool ag_ram_run_rm(struct ag_ram *m, struct ag_ram_run *run)
{
    struct ag_ram_stages *next;

    if (!ag_ram_queue_leave(m, run) || !ag_ram_reserve(m, 3 * (size_t)ROW_LOG))
        return false;
    ag_ram_save(m, &m->ended_first, offsetof(struct ag_ram, log) - offsetof(struct ag_ram, ended_first));
    run_unlink(m, run);
    if (run->key != NULL)
        ag_ram_del(m, &m->run_keys, ag_ram_name_hash(m, NULL, ag_ram_str(run->key)), run);
    if (run->cancel_requested && !ag_ram_has_ended(run))
        m->cancel_count--;
    ag_ram_text_unref(m, run->input);
    ag_ram_text_unref(m, run->options);
    ag_ram_text_unref(m, run->key);
    ag_ram_text_unref(m, run->error);
    ag_ram_text_unref(m, run->hint);
    for (struct ag_ram_stages *block = run->first_stages; block != NULL; block = next) {
        next = block->next;
        if (!ag_ram_reserve(m, ROW_LOG))
            return false;
        if (block->samples != NULL)
            ag_ram_dead(m, block->samples, block->sample_count * sizeof(block->samples[0]));
        ag_ram_dead(m, block, sizeof(*block) + block->count * sizeof(block->rows[0]));
    }
    for (struct ag_ram_item *item = run->first, *after; item != NULL; item = after) {
        after = item->next;
        if (!ag_ram_reserve(m, ROW_LOG))
            return false;
        item_rm(m, item);
    }
    ag_ram_row_dead(m, &m->runs, run->id);
    return true;
}

/* Drops the session's oldest messages until `keep` are left, or one of a run that is kept. */
static bool messages_rm(struct ag_ram *m, struct ag_ram_session *s, uint32_t keep)
{
    if (!ag_ram_reserve(m, ROW_LOG))
        return false;
    if (s->message_count <= keep)
        return true;
    AG_RAM_TOUCH(m, s);
    ag_ram_save(m, &m->message_count, sizeof(m->message_count));
    while (s->message_count > keep) {
        struct ag_ram_message *msg = s->oldest_message;

        if (keep > 0 && ag_ram_table_at(&m->runs, msg->run_id) != NULL)
            break;
        if (!ag_ram_reserve(m, ROW_LOG))
            return false;
        s->oldest_message = msg->newer;
        s->message_count--;
        message_rm(m, msg);
    }
    if (s->oldest_message == NULL) {
        s->newest_message = NULL;
    } else {
        if (!ag_ram_reserve(m, ROW_LOG))
            return false;
        AG_RAM_SAVE(m, s->oldest_message);
        s->oldest_message->older = NULL;
    }
    return true;
}

static void session_unlink(struct ag_ram *m, struct ag_ram_session *s)
{
    if (s->newer != NULL) {
        AG_RAM_TOUCH(m, s->newer);
        s->newer->older = s->older;
    } else {
        AG_RAM_TOUCH(m, s->agent);
        s->agent->latest = s->older;
    }
    if (s->older != NULL) {
        AG_RAM_TOUCH(m, s->older);
        s->older->newer = s->newer;
    }
}

bool ag_ram_session_rm(struct ag_ram *m, struct ag_ram_session *s)
{
    while (s->open_first != NULL)
        if (!ag_ram_run_rm(m, s->open_first))
            return false;
    while (s->ended_first != NULL)
        if (!ag_ram_run_rm(m, s->ended_first))
            return false;
    if (!messages_rm(m, s, 0) || !ag_ram_reserve(m, ROW_LOG))
        return false;
    session_unlink(m, s);
    if (s->name != NULL) {
        ag_ram_del(m, &m->session_names, ag_ram_name_hash(m, s->agent, ag_ram_str(s->name)), s);
        ag_ram_text_unref(m, s->name);
    }
    ag_ram_row_dead(m, &m->sessions, s->id);
    return true;
}

bool ag_ram_memory_rm(struct ag_ram *m, struct ag_ram_memory *memory)
{
    if (!ag_ram_reserve(m, ROW_LOG))
        return false;
    ag_ram_del(m, &m->memory_keys, ag_ram_name_hash(m, memory->agent, ag_ram_str(memory->key)), memory);
    if (memory->newer != NULL) {
        AG_RAM_SAVE(m, memory->newer);
        memory->newer->older = memory->older;
    } else {
        AG_RAM_TOUCH(m, memory->agent);
        memory->agent->newest_memory = memory->older;
    }
    if (memory->older != NULL) {
        AG_RAM_SAVE(m, memory->older);
        memory->older->newer = memory->newer;
    }
    ag_ram_intern_unref(m, memory->scope);
    ag_ram_text_unref(m, memory->key);
    ag_ram_text_unref(m, memory->text);
    ag_ram_row_dead(m, &m->memories, memory->id);
    return true;
}

bool ag_ram_agent_rm(struct ag_ram *m, struct ag_ram_agent *a)
{
    while (a->latest != NULL)
        if (!ag_ram_session_rm(m, a->latest))
            return false;
    while (a->newest_memory != NULL)
        if (!ag_ram_memory_rm(m, a->newest_memory))
            return false;
    for (int64_t id = 0; (id = ag_ram_table_after(&m->answers, id)) != 0;) {
        struct ag_ram_answer *answer = ag_ram_table_at(&m->answers, id);

        if (answer->agent_id == a->id && !ag_ram_answer_rm(m, answer))
            return false;
    }
    for (int64_t id = a->newest_version_id; id != 0;) {
        struct ag_ram_version *v = ag_ram_table_at(&m->versions, id);

        if (!ag_ram_reserve(m, ROW_LOG))
            return false;
        ag_ram_config_unref(m, v->config);
        ag_ram_intern_unref(m, v->instructions);
        ag_ram_row_dead(m, &m->versions, id);
        id = v->older_id;
    }
    if (!ag_ram_reserve(m, ROW_LOG))
        return false;
    ag_ram_del(m, &m->agent_names, ag_ram_name_hash(m, NULL, ag_ram_agent_name(a)), a);
    ag_ram_dead(m, (void *)(uintptr_t)a->name, (size_t)a->name_bytes + 1);
    ag_ram_row_dead(m, &m->agents, a->id);
    return true;
}

void ag_ram_forget(struct ag_ram *m)
{
    m->is_forgetting = true;
    while (m->ended_count > AG_RAM_ENDED_MAX) {
        struct ag_ram_run *run = m->ended_first;
        struct ag_ram_session *s = run->session;

        (void)ag_ram_run_rm(m, run);
        if (s->name == NULL && s->open_first == NULL && s->ended_first == NULL)
            (void)ag_ram_session_rm(m, s);
        else
            (void)messages_rm(m, s, AG_RAM_HISTORY_MIN);
    }
    m->is_forgetting = false;
}
