/* What tells two files apart. */
#include <agent/engine.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *digest_suite(void);

static int file_of(const char *text, size_t bytes)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/agent-digest-XXXXXX", folder != NULL ? folder : "/tmp");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    (void)unlink(path);
    ck_assert_int_eq((ssize_t)bytes, write(fd, text, bytes));
    return fd;
}

static void digest_is(const char *text, size_t bytes, const char *expected)
{
    agent_error err = AGENT_ERROR_INIT;
    int fd = file_of(text, bytes);
    char hex[65];

    ck_assert_int_eq(AGENT_OK, agent_sha256_fd(fd, hex, &err));
    ck_assert_str_eq(expected, hex);
    ck_assert_int_eq((off_t)bytes, lseek(fd, 0, SEEK_CUR));
    (void)close(fd);
}

START_TEST(published_digests_come_out_and_the_position_stays)
{
    char *many = malloc(1000000);

    digest_is("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_is("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_ptr_nonnull(many);
    memset(many, 'a', 1000000);
    digest_is(many, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(many);
}
END_TEST

START_TEST(what_cannot_be_read_by_position_is_refused)
{
    agent_error err = AGENT_ERROR_INIT;
    char hex[65] = "untouched";
    int ends[2];

    ck_assert_int_eq(0, pipe(ends));
    ck_assert_int_eq(AGENT_EIO, agent_sha256_fd(ends[0], hex, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "sha256"));
    ck_assert_str_eq("untouched", hex);
    ck_assert_int_eq(AGENT_EINVAL, agent_sha256_fd(ends[0], NULL, &err));
    (void)close(ends[0]);
    (void)close(ends[1]);
}
END_TEST

Suite *digest_suite(void)
{
    Suite *s = suite_create("digest");
    TCase *tc = tcase_create("digest");

    tcase_add_test(tc, published_digests_come_out_and_the_position_stays);
    tcase_add_test(tc, what_cannot_be_read_by_position_is_refused);
    suite_add_tcase(s, tc);
    return s;
}
