#include "bundle/crash_json.h"

#include <stdint.h>

#include "bundle/json_value.h"

static json_t *frame_to_json(const struct stack_frame *frame)
{
    return json_object_of((const struct json_field[]){
        {"pc", json_hex(frame->pc)},
        {"function", json_known_text(frame->function, SIZE_MAX)},
        {"function_offset", frame->function ? json_size(frame->function_offset) : json_null()},
        {"inlined", json_boolean(frame->is_inlined)},
        {"file", json_known_text(frame->file, SIZE_MAX)},
        {"line", json_known_integer(frame->file != NULL, frame->line)},
        {"module", json_known_text(frame->module, SIZE_MAX)},
        {"module_offset", frame->module ? json_hex(frame->module_offset) : json_null()},
        {"build_id", json_known_text(frame->build_id, sizeof(frame->build_id))},
        {NULL, NULL},
    });
}

json_t *stack_to_json(const struct stack_thread *thread, size_t max)
{
    json_t *frames = json_array();

    for (size_t i = 0; i < thread->n_frames && i < max; i++) {
        if (json_array_append_new(frames, frame_to_json(&thread->frames[i])) < 0) {
            json_decref(frames);
            return NULL;
        }
    }
    return frames;
}
