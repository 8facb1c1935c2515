/* Runs one suite; which one, the build says. */
#include <check.h>
#include <stdlib.h>

Suite *SUITE(void);

int main(void)
{
    SRunner *runner = srunner_create(SUITE());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
