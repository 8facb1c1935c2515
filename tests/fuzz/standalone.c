/*
 * Runs a fuzz target over files and folders of inputs without libFuzzer: each input as it is, each
 * beginning of it, and a fixed number of mutations from a fixed seed, so that a plain test run
 * already looks into the corners near the corpus. Finds what a sanitizer or the target's own checks
 * find; ends with a count.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIXES_MAX  512
#define MUTATIONS     200
#define INPUT_MAX     (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static uint64_t state = 0x9e3779b97f4a7c15u;
static size_t runs, inputs;

static uint32_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

/* In memory of exactly its size, so that a sanitizer sees a read past its end. */
static void run(const uint8_t *bytes, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);

    if (exact == NULL)
        abort();
    memcpy(exact, bytes, n);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    runs++;
}

static void mutate(uint8_t *bytes, size_t n)
{
    static const char interesting[] = "\r\n:, \"{}[]\\\0\xff";
    size_t changes = 1 + next_random() % 4;

    while (n > 0 && changes-- > 0) {
        size_t at = next_random() % n, to = next_random() % n;

        switch (next_random() % 4) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << (next_random() % 8));
            break;
        case 1:
            bytes[at] = (uint8_t)next_random();
            break;
        case 2:
            bytes[at] = (uint8_t)interesting[next_random() % (sizeof(interesting) - 1)];
            break;
        default:
            memmove(bytes + at, bytes + to, n - (at > to ? at : to));
            break;
        }
    }
}

static int run_file(const char *path)
{
    uint8_t *bytes = malloc(INPUT_MAX), *changed = malloc(INPUT_MAX);
    FILE *file = fopen(path, "rb");
    size_t n;

    if (bytes == NULL || changed == NULL || file == NULL) {
        perror(path);
        free(bytes);
        free(changed);
        if (file != NULL)
            fclose(file);
        return 1;
    }
    n = fread(bytes, 1, INPUT_MAX, file);
    fclose(file);
    inputs++;
    run(bytes, n);
    for (size_t cut = 0; cut < n && cut < PREFIXES_MAX; cut++)
        run(bytes, cut);
    for (int i = 0; i < MUTATIONS && n > 0; i++) {
        memcpy(changed, bytes, n);
        mutate(changed, n);
        run(changed, n);
    }
    free(bytes);
    free(changed);
    return 0;
}

static int run_path(const char *path)
{
    struct dirent **names;
    struct stat st;
    int count, failed = 0;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return run_file(path);
    if ((count = scandir(path, &names, NULL, alphasort)) < 0) {
        perror(path);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        char file[4096];

        if (names[i]->d_name[0] != '.' &&
            snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name) < (int)sizeof(file))
            failed |= run_path(file);
        free(names[i]);
    }
    free(names);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;

    for (int i = 1; i < argc; i++)
        failed |= run_path(argv[i]);
    printf("%zu inputs, %zu runs\n", inputs, runs);
    if (inputs == 0) {
        fprintf(stderr, "no inputs found: the test would have tested nothing\n");
        return 1;
    }
    return failed;
}
