/*
 * One attempt to get an answer, in one of three ways: over HTTP (remote.c), from the plan of the
 * offline model (local.c), or from a provider of the host (hosted.c). Each reports through the
 * ag_infer_* functions of run.h and is freed by its `stop`.
 */
#ifndef AG_ENGINE_INFER_H
#define AG_ENGINE_INFER_H

#include "engine/run.h"

struct ag_infer {
    bool first_byte, done, failed, retry;
    int64_t after_ms;
    agent_error *error; /* in the run's arena */
    /* Called when the run is driven while the attempt is out; NULL: it reports by itself. */
    void (*poll)(struct agent_run *run);
    void (*stop)(struct agent_run *run); /* frees *infer */
};

/* Each sets run->infer on success. */
agent_status ag_remote_start(struct agent_run *run, const struct ag_model_request *q, agent_error *err);
agent_status ag_local_start(struct agent_run *run, const struct ag_model_request *q, agent_error *err);
agent_status ag_hosted_start(struct agent_run *run, const struct ag_model_request *q, agent_error *err);

#endif
