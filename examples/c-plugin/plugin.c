/*
 * A plugin for isard in plain C: a source that plays ramps and a map that clips.
 *
 *     cc -std=c99 -O2 -fPIC -shared -I core/engine/include examples/c-plugin/plugin.c -o libramp.so
 *     isard list --plugin libramp.so
 */
#include <stdlib.h>

#include "isard.h"

static const isard_services *services;

static const char DECLARATIONS[] =
    "[{\"name\": \"ramp.play\", \"kind\": \"simulator\", \"role\": \"source\", \"version\": \"0.1.0\","
    "  \"doc\": \"Plays frames whose pixels rise by one from left to right and frame to frame.\","
    "  \"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
    "     \"frames\": {\"type\": \"integer\", \"minimum\": 0, \"default\": 10, \"description\": \"How many frames.\"},"
    "     \"width\": {\"type\": \"integer\", \"minimum\": 1, \"default\": 8, \"description\": \"Pixels in a row.\"}}},"
    "  \"outputs\": [{\"name\": \"image\", \"doc\": \"The ramp.\", \"unit\": \"count\","
    "     \"kind\": {\"array\": {\"dtype\": \"f32\", \"axes\": [\"y\", \"x\"]}}}]},"
    " {\"name\": \"ramp.clip\", \"kind\": \"reducer\", \"role\": \"map\", \"version\": \"0.1.0\","
    "  \"doc\": \"Clips pixels to a range and counts those outside.\","
    "  \"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
    "     \"low\": {\"type\": \"number\", \"default\": 0, \"description\": \"Pixels below become this.\"},"
    "     \"high\": {\"type\": \"number\", \"default\": 1, \"description\": \"Pixels above become this.\"}}},"
    "  \"inputs\": [{\"name\": \"image\", \"doc\": \"The image.\","
    "     \"kind\": {\"array\": {\"dtype\": \"f32\", \"axes\": [\"y\", \"x\"]}}}],"
    "  \"outputs\": [{\"name\": \"image\", \"doc\": \"The clipped image.\","
    "     \"kind\": {\"array\": {\"dtype\": \"f32\", \"axes\": [\"y\", \"x\"]}}},"
    "     {\"name\": \"outside\", \"doc\": \"Pixels that were outside.\","
    "     \"kind\": {\"array\": {\"dtype\": \"u32\", \"axes\": []}}}]}]";

typedef struct stage {
    int clips;
    double low, high;
    uint64_t frames, width, next;
} stage;

static void start(const isard_services *s) {
    services = s;
    s->log(s, 4, isard_string("ramp"), isard_string("Library started."), isard_string("stages=2"));
}

static isard_text declare(void) {
    return isard_string(DECLARATIONS);
}

static isard_status build(isard_text name, isard_text parameters, const isard_out *out, void **built) {
    stage *s = calloc(1, sizeof *s);
    if (!s) return isard_fail(out, "resources", "no memory for a stage");
    s->clips = isard_is(name, "ramp.clip");
    s->low = isard_json_number(parameters, "low", 0);
    s->high = isard_json_number(parameters, "high", 1);
    s->frames = (uint64_t)isard_json_number(parameters, "frames", 10);
    s->width = (uint64_t)isard_json_number(parameters, "width", 8);
    *built = s;
    return ISARD_OK;
}

static void discard(void *built) {
    free(built);
}

static isard_status check(const stage *s, const isard_out *out) {
    isard_entry entries[2];
    isard_value fault, faults;
    if (!s->clips || s->low < s->high) return ISARD_OK;
    memset(entries, 0, sizeof entries);
    entries[0].key = isard_string("parameter");
    entries[0].value.kind = ISARD_KIND_TEXT;
    entries[0].value.as.text = isard_string("high");
    entries[1].key = isard_string("message");
    entries[1].value.kind = ISARD_KIND_TEXT;
    entries[1].value.as.text = isard_string("found a range without numbers, wanted `high` above `low`");
    memset(&fault, 0, sizeof fault);
    fault.kind = ISARD_KIND_DICT;
    fault.as.dict.entries = entries;
    fault.as.dict.len = 2;
    memset(&faults, 0, sizeof faults);
    faults.kind = ISARD_KIND_LIST;
    faults.as.list.items = &fault;
    faults.as.list.len = 1;
    return out->put(out, isard_string("faults"), &faults);
}

static isard_status apply(const stage *s, const isard_request *request, const isard_out *out) {
    const isard_array *image = isard_get_array(request->input, "image", ISARD_F32);
    const float *in;
    float *clipped;
    uint32_t *outside;
    uint64_t frames, pixels, i, j;
    if (!image || image->ndim < 1) return isard_fail(out, "data", "found no `image` of f32");
    frames = image->shape[0];
    pixels = frames ? isard_count(image) / frames : 0;
    in = image->data;
    clipped = out->array(out, isard_string("image"), ISARD_F32, image->ndim, image->shape);
    outside = out->array(out, isard_string("outside"), ISARD_U32, 1, &frames);
    if (!clipped || !outside) return ISARD_ERROR;
    for (i = 0; i < frames; i++) {
        outside[i] = 0;
        for (j = i * pixels; j < (i + 1) * pixels; j++) {
            clipped[j] = in[j] < s->low ? (float)s->low : in[j] > s->high ? (float)s->high : in[j];
            outside[i] += in[j] < s->low || in[j] > s->high;
        }
    }
    return ISARD_OK;
}

static isard_status pull(stage *s, const isard_request *request, const isard_out *out) {
    uint64_t n = s->frames - s->next, shape[3], i, x;
    isard_records records;
    float *image;
    if (n == 0) return ISARD_NONE;
    if (n > request->room) n = request->room;
    shape[0] = n, shape[1] = 1, shape[2] = s->width;
    image = out->array(out, isard_string("image"), ISARD_F32, 3, shape);
    if (!image) return ISARD_ERROR;
    for (i = 0; i < n; i++)
        for (x = 0; x < s->width; x++) image[i * s->width + x] = (float)(s->next + i + x);
    memset(&records, 0, sizeof records);
    records.start = s->next;
    records.len = n;
    s->next += n;
    return out->end(out, &records);
}

static isard_status call(void *built, const isard_request *request, const isard_out *out, const isard_host *host) {
    stage *s = built;
    (void)host;
    switch (request->op) {
    case ISARD_CHECK:
        return check(s, out);
    case ISARD_SHAPES: /* Nothing is known before the run. */
    case ISARD_COST:   /* Nothing worth a number. */
        return ISARD_OK;
    case ISARD_APPLY:
        return apply(s, request, out);
    case ISARD_OPEN:
        s->next = request->next < s->frames ? request->next : s->frames;
        return isard_put_int(out, "frames", (int64_t)s->frames);
    case ISARD_PULL:
        return pull(s, request, out);
    default:
        return isard_fail(out, "plugin", "the stage knows no such operation");
    }
}

static isard_status example(isard_text name, const isard_out *out) {
    static const uint64_t shape[3] = {2, 1, 3};
    static const float pixels[6] = {-1, 0, 1, 2, 3, 4};
    isard_entry image;
    isard_value frames;
    if (isard_is(name, "ramp.play")) return isard_put_text(out, "set", "frames = 5\nwidth = 4");
    memset(&image, 0, sizeof image);
    image.key = isard_string("image");
    image.value.kind = ISARD_KIND_ARRAY;
    image.value.as.array.data = pixels;
    image.value.as.array.shape = shape;
    image.value.as.array.dtype = ISARD_F32;
    image.value.as.array.ndim = 3;
    memset(&frames, 0, sizeof frames);
    frames.kind = ISARD_KIND_DICT;
    frames.as.dict.entries = &image;
    frames.as.dict.len = 1;
    isard_put_text(out, "set", "low = 0.0\nhigh = 2.5");
    return out->put(out, isard_string("frames"), &frames);
}

ISARD_EXPORT const struct isard_plugin isard_plugin = {
    ISARD_MAGIC, ISARD_VERSION, sizeof(struct isard_plugin), start, declare, build, call, discard, example,
};
