/* The table of policies, and ranks. */
#include "engine/cache/policy.h"

#include <string.h>

static const struct ag_policy_vt *const all[] = {
    &ag_policy_adaptive, &ag_policy_lruk,   &ag_policy_lru,  &ag_policy_fifo,
    &ag_policy_s3fifo,   &ag_policy_gdsf,   &ag_policy_none, NULL,
};

const char *const ag_policy_names[AG_POLICIES + 1] = {
    "lruk-adaptive", "lruk", "lru", "fifo", "s3fifo", "gdsf", "none", NULL,
};

_Static_assert(sizeof(all) / sizeof(all[0]) == AG_POLICIES + 1, "every policy has a name");

const struct ag_policy_vt *const *ag_policy_all(void)
{
    return all;
}

const struct ag_policy_vt *ag_policy_find(const char *name)
{
    if (name == NULL)
        return all[0];
    for (size_t i = 0; all[i] != NULL; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

/* Ratios are in 2^-24ths of a byte per nanosecond: 600 bytes that cost a model call of ten seconds
 * are rank 0, a byte per 0.1 ns is near the top. */
#define RATIO_BITS 24

uint8_t ag_rank_of(uint64_t bytes, uint64_t cost_ns)
{
    uint64_t ratio;
    unsigned octave;

    if (bytes > UINT32_MAX)
        bytes = UINT32_MAX;
    ratio = (bytes << RATIO_BITS) / (cost_ns > 0 ? cost_ns : 1);
    if (ratio == 0)
        return 0;
    octave = 63u - (unsigned)__builtin_clzll(ratio);
    if (octave >= AG_RANKS / 2)
        return AG_RANKS - 1;
    return (uint8_t)(2 * octave + (octave > 0 && (ratio >> (octave - 1) & 1) != 0));
}

/* The geometric middle of each half octave: [2^o, 1.5 * 2^o) and [1.5 * 2^o, 2^(o+1)). */
const float ag_rank_weight[AG_RANKS] = {
    1.2247449e+00f, 1.7320508e+00f, 2.4494897e+00f, 3.4641016e+00f,
    4.8989795e+00f, 6.9282032e+00f, 9.7979590e+00f, 1.3856406e+01f,
    1.9595918e+01f, 2.7712813e+01f, 3.9191836e+01f, 5.5425626e+01f,
    7.8383672e+01f, 1.1085125e+02f, 1.5676734e+02f, 2.2170250e+02f,
    3.1353469e+02f, 4.4340501e+02f, 6.2706937e+02f, 8.8681001e+02f,
    1.2541387e+03f, 1.7736200e+03f, 2.5082775e+03f, 3.5472401e+03f,
    5.0165550e+03f, 7.0944801e+03f, 1.0033110e+04f, 1.4188960e+04f,
    2.0066220e+04f, 2.8377920e+04f, 4.0132440e+04f, 5.6755841e+04f,
    8.0264880e+04f, 1.1351168e+05f, 1.6052976e+05f, 2.2702336e+05f,
    3.2105952e+05f, 4.5404673e+05f, 6.4211904e+05f, 9.0809345e+05f,
    1.2842381e+06f, 1.8161869e+06f, 2.5684762e+06f, 3.6323738e+06f,
    5.1369523e+06f, 7.2647476e+06f, 1.0273905e+07f, 1.4529495e+07f,
    2.0547809e+07f, 2.9058991e+07f, 4.1095619e+07f, 5.8117981e+07f,
    8.2191237e+07f, 1.1623596e+08f, 1.6438247e+08f, 2.3247192e+08f,
    3.2876495e+08f, 4.6494385e+08f, 6.5752990e+08f, 9.2988770e+08f,
    1.3150598e+09f, 1.8597754e+09f, 2.6301196e+09f, 3.7195508e+09f,
};
