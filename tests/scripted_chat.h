/*
 * A model endpoint by rule, for end-to-end tests: OpenAI's POST …/chat/completions and Anthropic's
 * POST …/messages, told apart by the path, streaming and not.
 *
 *   - A user's line "/tool NAME {json}" becomes a tool call; several lines, several calls.
 *   - After tool results it answers "results: ONE; TWO".
 *   - Anything else is answered "echo: TEXT | turn N".
 *   - A history in which a tool call has no result, or a result no call, is refused with 400, as the
 *     real ones do.
 */
#ifndef TESTS_SCRIPTED_CHAT_H
#define TESTS_SCRIPTED_CHAT_H

#include "tests/scripted_server.h"

struct scripted_chat {
    const char *key;      /* refuse others with 401; NULL: anybody */
    int delay_ms;         /* before each answer */
    int piece_ms;         /* between pieces */
    size_t split;         /* bytes of a piece; 0: all at once */
    size_t fail_first;    /* so many requests are refused with fail_status */
    int fail_status;      /* 0: 503 */
    size_t cut_first;     /* so many requests (after those) are cut off in the middle */
    const char *retry_after; /* of refusals; NULL: not told */
};

/* ctx is a struct scripted_chat. */
void scripted_chat_answer(void *ctx, const struct scripted_request *request, size_t index,
                          struct scripted_answer *out);

#endif
