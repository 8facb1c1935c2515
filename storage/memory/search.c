/*
 * Searching memory: words of letters and digits, ASCII without case, any other byte as it is (the
 * file's index also folds other alphabets). A memory with all words of the query beats any that
 * has some; those are only answered where none has all.
 */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "storage/memory/ram.h"

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c & 0x80) != 0;
}

static char folded(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Takes the next word off the text; one of no bytes at the end. */
static struct ag_str next_word(struct ag_str *text)
{
    size_t from = 0, to;

    while (from < text->n && !is_word(text->p[from]))
        from++;
    for (to = from; to < text->n && is_word(text->p[to]);)
        to++;
    if (to == from) {
        *text = AG_STR("");
        return AG_STR("");
    } else {
        struct ag_str word = {text->p + from, to - from};

        *text = (struct ag_str){text->p + to, text->n - to};
        return word;
    }
}

static bool same_word(struct ag_str a, struct ag_str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (folded(a.p[i]) != folded(b.p[i]))
            return false;
    return true;
}

/* How often a word stands in a text; *out_words: how many words the text has. */
static size_t occurs(struct ag_str text, struct ag_str word, size_t *out_words)
{
    size_t found = 0, words = 0;

    for (struct ag_str w = next_word(&text); w.n > 0; w = next_word(&text)) {
        words++;
        found += same_word(w, word);
    }
    *out_words = words;
    return found;
}

bool ag_ram_hits_add(struct ag_ram_hits *hits, const struct ag_ram_memory *row, struct ag_str query)
{
    size_t asked = 0, matched = 0;
    double score = 0;

    for (struct ag_str word = next_word(&query); word.n > 0; word = next_word(&query)) {
        size_t key_words, text_words;
        size_t found = occurs(ag_ram_str(row->key), word, &key_words) +
                       occurs(ag_ram_str(row->text), word, &text_words);

        asked++;
        matched += found > 0;
        score += (double)found / ((double)found + 1 + 0.05 * (double)(key_words + text_words));
    }
    if (matched == 0)
        return true;
    if (hits->count == hits->room) {
        size_t room = hits->room == 0 ? 16 : hits->room * 2;
        struct ag_ram_hit *at = ag_realloc(hits->at, room * sizeof(*at));

        if (at == NULL)
            return false;
        hits->at = at;
        hits->room = room;
    }
    hits->at[hits->count++] = (struct ag_ram_hit){row, score, matched == asked};
    hits->any_has_all |= matched == asked;
    return true;
}

static int by_score(const void *a, const void *b)
{
    const struct ag_ram_hit *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->row->id > y->row->id ? -1 : x->row->id < y->row->id;
}

void ag_ram_hits_sort(struct ag_ram_hits *hits)
{
    size_t kept = 0;

    for (size_t i = 0; i < hits->count; i++)
        if (hits->at[i].has_all || !hits->any_has_all)
            hits->at[kept++] = hits->at[i];
    hits->count = kept;
    if (kept > 1)
        qsort(hits->at, kept, sizeof(hits->at[0]), by_score);
}

void ag_ram_hits_drop(struct ag_ram_hits *hits)
{
    ag_free(hits->at);
    *hits = (struct ag_ram_hits){0};
}
