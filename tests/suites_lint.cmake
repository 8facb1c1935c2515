# House rules that no compiler sees; and that each of them strikes.
add_test(NAME lint COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/lint.sh ${PROJECT_SOURCE_DIR})
add_test(NAME lint_self_test COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/lint.sh --self-test)
