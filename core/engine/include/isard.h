/*
 * isard.h: plugins for isard in C, or in any language that speaks C.
 *
 * A plugin is a shared library that exports one structure named `isard_plugin`.
 * isard checks its magic number, version and size before it looks at anything else.
 *
 * Who owns what
 *   Everything handed over, in either direction, is lent for the length of the call: texts, lists, dictionaries,
 *   tables. Whoever wants to keep them copies them. Arrays are kept without a copy: `keeper->retain(owner)` gives a
 *   handle that keeps the elements readable and unchanged until `keeper->release(handle)`. A handle may stand as
 *   the `owner` when the array is lent again. An array without a keeper is copied by the receiver at once.
 *   Elements of an array that was lent to you are never written.
 *
 * Threads
 *   `call` of one stage is made from one thread at a time, any thread; but maps and reductions are called from
 *   several threads at once, each reduction call with a part of its own. `out` and `host` belong to the thread of
 *   the call and end with it; only `host->cancelled` may be used inside `host->par`. Keepers, outputs and services
 *   may be used from any thread.
 *
 * Errors
 *   A call that fails puts `message` (lower case, no full stop: what was found, what was wanted), if it likes
 *   `blame` (recipe, plugin, data, io, resources, cancelled), `help` and `transient` (a bool: trying again may
 *   help), and returns ISARD_ERROR. isard_fail() does that. Exceptions and longjmp must not leave a function.
 *
 * Stages are declared as JSON: a list of
 *   { "name": "family.what", "kind": "source|reducer|simulator|fitter|writer|tool",
 *     "role": "source|map|fold|reduce|fit|writer|task", "doc": "First line.\n\nMore.", "version": "0.1.0",
 *     "schema": JSON schema of the parameters, "inputs": [port], "outputs": [port], "early": false }
 * where a port is
 *   { "name": "image", "doc": "..", "kind": {"array": {"dtype": "u16|f32", "axes": ["y", "x"]}}, "unit": "count",
 *     "optional": false, "fixed": false, "open": false }
 * with kind one of "any" "bool" "int" "float" "text" "list" "dict", {"array": ..}, and
 *   {"table": {"columns": [{"name": "row", "dtype": "f64", "unit": "pixel"}, {"name": "label"}]}}.
 * Axes are those of one record: what a stage takes and gives leads with the records of the call. `fixed` ports,
 * scalars, and what tasks, fits and reductions give do not.
 */
#ifndef ISARD_H
#define ISARD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "isardplg" in memory, on a little-endian machine. */
#define ISARD_MAGIC UINT64_C(0x676c706472617369)
#define ISARD_VERSION 1

/* What a call came to. */
typedef int32_t isard_status;
enum {
    ISARD_OK = 0,
    ISARD_ERROR = 1,
    ISARD_NONE = 2, /* nothing to show (PEEK, SNAPSHOT); the series is complete (PULL) */
    ISARD_WAIT = 3  /* nothing now (PULL): `wait`, an integer, says for how many nanoseconds */
};

/* Codes of dtypes. */
enum {
    ISARD_U8 = 1, ISARD_U16, ISARD_U32, ISARD_U64, ISARD_I8, ISARD_I16, ISARD_I32, ISARD_I64,
    ISARD_F32, ISARD_F64,
    ISARD_C32, /* two floats */
    ISARD_C64  /* two doubles */
};

/* UTF-8 bytes, not terminated. */
typedef struct isard_text {
    const char *data;
    uint64_t len;
} isard_text;

/* How an array (or an output) is kept beyond the call it came with; both functions from any thread. */
typedef struct isard_keeper {
    const void *(*retain)(const void *owner);
    void (*release)(const void *handle);
} isard_keeper;

/* A C-ordered array. */
typedef struct isard_array {
    const void *data;
    const uint64_t *shape; /* slowest axis first */
    const void *owner;
    const isard_keeper *keeper; /* NULL: the receiver copies */
    uint32_t dtype;
    uint32_t ndim; /* at most 8 */
} isard_array;

typedef struct isard_value isard_value;
typedef struct isard_entry isard_entry;
typedef struct isard_table isard_table;

typedef struct isard_list {
    const isard_value *items;
    uint64_t len;
} isard_list;

typedef struct isard_dict {
    const isard_entry *entries;
    uint64_t len;
} isard_dict;

/* Kinds of values. */
enum {
    ISARD_KIND_NONE = 0, ISARD_KIND_BOOL, ISARD_KIND_INT, ISARD_KIND_FLOAT, ISARD_KIND_TEXT, ISARD_KIND_LIST,
    ISARD_KIND_ARRAY, ISARD_KIND_TABLE, ISARD_KIND_DICT
};

struct isard_value {
    uint32_t kind;
    uint32_t reserved; /* 0 */
    union {
        int64_t integer; /* also of a bool: 0 or 1 */
        double real;
        isard_text text;
        isard_list list;
        isard_array array;
        const isard_table *table;
        isard_dict dict;
    } as;
};

struct isard_entry {
    isard_text key;
    isard_value value;
};

enum { ISARD_COLUMN_ARRAY = 0, ISARD_COLUMN_TEXT = 1, ISARD_COLUMN_RAGGED = 2 };

typedef struct isard_column {
    isard_text name;
    uint32_t kind;
    uint32_t reserved;        /* 0 */
    isard_array array;        /* numbers, one record per row; of a ragged column the elements of all rows */
    const isard_text *texts;  /* one per row */
    const uint64_t *ends;     /* of a ragged column: where each row ends in `array` */
} isard_column;

struct isard_table {
    uint64_t rows;
    const uint64_t *records; /* the record number of each row, not falling; NULL outside a stream */
    const isard_column *columns;
    uint64_t len;
};

/* Operations. "in" is request->input; "puts" is what goes to `out`. */
enum {
    /* Every role. */
    ISARD_CHECK = 1,  /* puts `faults`: a list of { parameter, message, help } */
    ISARD_SHAPES = 2, /* in and puts: port = { dtype = "u16", dims = [512, 512] } of one record; may put nothing */
    ISARD_COST = 3,   /* in: shapes; puts `memory`, `disk_per_record`, `seconds_per_record`, `seconds`; may put none */
    /* Several roles. */
    ISARD_SAVE = 4,   /* fold, fit; reduce with `part`: puts the state */
    ISARD_LOAD = 5,   /* in: the state; a reduction hands a new part over with out->part */
    ISARD_OPEN = 6,   /* source: in, `next`; puts `frames`, `head`, `shapes`, `live`, `scan` = [[axis, extent], ..].
                         writer: `output`, in: what COMMIT put, or NULL for a new output */
    ISARD_GAP = 7,    /* fold, fit, writer: `records` with the reason; a fold may put and end records */
    ISARD_FINISH = 8, /* fold: puts and ends what is left; reduce: takes `part`, puts the result;
                         writer: in: `covers`, a flat u64 array of start, end, start, end .. */
    /* Source. */
    ISARD_PULL = 10, /* `room` frames are wanted, `next` first; puts frames and ends them: out->end with axis frame,
                        or with a reason for frames that are lost */
    /* Map. */
    ISARD_APPLY = 20, /* in, `records`; puts the outputs */
    /* Fold. */
    ISARD_LAG = 30,  /* puts `kept` = frames late, or `rotated` = true, or `merged` = "axis" */
    ISARD_PUSH = 31, /* in, `records`; puts outputs and ends them, any number of times */
    /* Reduce. */
    ISARD_PART = 40,    /* hands a new part over with out->part */
    ISARD_ADD = 41,     /* in, `records`, `part` */
    ISARD_MERGE = 42,   /* `part`, `later`: the stage takes `later`, also when it fails */
    ISARD_PEEK = 43,    /* `part`; puts the result so far, or ISARD_NONE */
    ISARD_DISCARD = 44, /* takes `part` */
    /* Fit. */
    ISARD_ABSORB = 50,   /* in, `records` */
    ISARD_COMPLETE = 51, /* all data are in */
    ISARD_REFINE = 52,   /* `nanoseconds`; at least one step; puts `cost`, a float, and `more`, a bool */
    ISARD_SNAPSHOT = 53, /* puts the answer so far, or ISARD_NONE */
    /* Writer. */
    ISARD_WRITE = 60,  /* in, `records` */
    ISARD_COMMIT = 61, /* puts what reopens the output here */
    /* Task. */
    ISARD_RUN = 70 /* in; puts the outputs */
};

/* Why frames do not come as data. */
enum { ISARD_GOOD = 0, ISARD_MISSING = 1, ISARD_CORRUPT = 2, ISARD_SKIPPED = 3, ISARD_DROPPED = 4 };

typedef struct isard_records {
    isard_text axis; /* "frame" for frames; empty is the same */
    uint64_t start;
    uint64_t len;
    uint32_t reason;
    uint32_t reserved; /* 0 */
    isard_text why;    /* of a gap */
} isard_records;

/* Where the answer of a call goes; use it from the thread of the call. */
typedef struct isard_out isard_out;
struct isard_out {
    uint64_t size;
    void *self;
    /* Puts a value under a name. */
    isard_status (*put)(const isard_out *out, isard_text key, const isard_value *value);
    /* Makes an array under a name and gives its elements to be written, all of them, before the call (or `end`)
       is over: what they hold at first is left from earlier use. NULL when it cannot be made. */
    void *(*array)(const isard_out *out, isard_text key, uint32_t dtype, uint32_t ndim, const uint64_t *shape);
    /* What was put since the last `end` belongs to these records. */
    isard_status (*end)(const isard_out *out, const isard_records *records);
    /* Hands a new part of a reduction over. */
    isard_status (*part)(const isard_out *out, void *part);
};

/* What a stage may ask of isard during a call. */
typedef struct isard_host isard_host;
struct isard_host {
    uint64_t size;
    const void *self;
    isard_text stage; /* its name in the recipe */
    /* The seed of the run. Random numbers must depend on seed, stage and record number alone. */
    uint64_t seed;
    /* Not 0 when the run must end: come back with an error whose blame is "cancelled". From any thread. */
    int32_t (*cancelled)(const isard_host *host);
    /* Runs work(context, i) for i < n on the threads of the run; not ISARD_OK ends it early. Make no threads of
       your own. */
    isard_status (*par)(const isard_host *host, uint64_t n,
                        isard_status (*work)(const void *context, uint64_t i), const void *context);
    /* Reads what a path in a recipe names ("dark.h5::/entry/data") and puts it under `value`: `out` is a receiver of
       your own, or that of the call. */
    isard_status (*read)(const isard_host *host, isard_text path, const isard_out *out);
    /* Gives a frame up: from here on it is a gap. */
    void (*give_up)(const isard_host *host, uint64_t frame, uint32_t reason, isard_text why);
    /* An array from the buffers of the run. Its elements may be written until it is lent; `owner` is a handle to
       release. */
    isard_status (*buffer)(const isard_host *host, uint32_t dtype, uint32_t ndim, const uint64_t *shape,
                           isard_array *array);
};

/* Where a writer puts its files; `self` is lent, keep it with `keeper`. From any thread. */
typedef struct isard_output {
    uint64_t size;
    const void *self;
    const isard_keeper *keeper;
    /* Writes a file that is never touched again. */
    isard_status (*seal)(const void *self, isard_text path, const void *bytes, uint64_t len, const isard_out *out);
    /* Writes a file in place of an earlier one, in one step. */
    isard_status (*replace)(const void *self, isard_text path, const void *bytes, uint64_t len, const isard_out *out);
    /* Puts what the run is, as JSON, under `record`. */
    isard_status (*record)(const void *self, const isard_out *out);
} isard_output;

/* One call to a stage; what an operation does not use is 0. */
typedef struct isard_request {
    uint64_t size;
    uint32_t op;
    uint32_t reserved;
    isard_records records;
    const isard_dict *input;
    uint64_t next;
    uint64_t room;
    uint64_t nanoseconds;
    void *part;
    void *later;
    const isard_output *output;
} isard_request;

/* What isard offers for as long as it runs; from any thread. */
typedef struct isard_services isard_services;
struct isard_services {
    uint64_t size;
    const void *self;
    /* Whether anybody listens at a level: 1 error, 2 warning, 3 information, 4 debugging, 5 tracing. */
    int32_t (*listens)(const isard_services *services, uint32_t level);
    /* Writes to the log: a sentence with a full stop; `fields` is text like "frame=3 count=7", or empty. */
    void (*log)(const isard_services *services, uint32_t level, isard_text target, isard_text message,
                isard_text fields);
    /* Says that memory of the library can be shared with other processes: mapped at `data`, from the start of the
       file that `descriptor` is; a negative one says that it is about to be unmapped. NULL, or beyond `size`, where
       nobody needs to know. Only for libraries with buffers of their own: arrays from `isard_out` are shared. */
    void (*share)(const isard_services *services, const void *data, uint64_t length, int32_t descriptor);
};

/* What the library exports: `const isard_plugin isard_plugin = { ISARD_MAGIC, ISARD_VERSION, .. };` */
struct isard_plugin {
    uint64_t magic;
    uint32_t version;
    uint32_t size; /* sizeof(struct isard_plugin) */
    /* Called once, first; may be NULL. The services stay for good. */
    void (*start)(const isard_services *services);
    /* The declarations as JSON; the text must stay for good. */
    isard_text (*declare)(void);
    /* Builds a stage from its parameters, a JSON object; several stages may live at once. */
    isard_status (*build)(isard_text name, isard_text parameters, const isard_out *out, void **stage);
    /* Does one operation. */
    isard_status (*call)(void *stage, const isard_request *request, const isard_out *out, const isard_host *host);
    /* Ends a stage. */
    void (*discard)(void *stage);
    /* Puts the example of a stage: `set` (parameters as TOML), `frames` and `fixed` (dicts of inputs), `tolerance`
       (a list of { port, absolute }, for a fit), or `external` (why there is none). May be NULL. */
    isard_status (*example)(isard_text name, const isard_out *out);
};

/* -- Helpers: nothing below crosses the interface. ------------------------------------------------------------- */

#if defined(__GNUC__)
#define ISARD_HELPER static inline __attribute__((unused))
#define ISARD_EXPORT __attribute__((visibility("default")))
#else
#define ISARD_HELPER static
#define ISARD_EXPORT
#endif

/* The text of a terminated string. */
ISARD_HELPER isard_text isard_string(const char *s) {
    isard_text text;
    text.data = s;
    text.len = strlen(s);
    return text;
}

/* Whether a text is a string. */
ISARD_HELPER int isard_is(isard_text text, const char *s) {
    return text.len == strlen(s) && memcmp(text.data, s, text.len) == 0;
}

/* The value of a name, or NULL. */
ISARD_HELPER const isard_value *isard_get(const isard_dict *dict, const char *key) {
    uint64_t i;
    for (i = 0; dict && i < dict->len; i++)
        if (isard_is(dict->entries[i].key, key)) return &dict->entries[i].value;
    return NULL;
}

/* The array of a name, or NULL when there is none of that dtype. */
ISARD_HELPER const isard_array *isard_get_array(const isard_dict *dict, const char *key, uint32_t dtype) {
    const isard_value *value = isard_get(dict, key);
    if (!value || value->kind != ISARD_KIND_ARRAY || value->as.array.dtype != dtype) return NULL;
    return &value->as.array;
}

/* How many elements an array has. */
ISARD_HELPER uint64_t isard_count(const isard_array *array) {
    uint64_t n = 1;
    uint32_t i;
    for (i = 0; i < array->ndim; i++) n *= array->shape[i];
    return n;
}

ISARD_HELPER isard_status isard_put_int(const isard_out *out, const char *key, int64_t x) {
    isard_value value;
    memset(&value, 0, sizeof value);
    value.kind = ISARD_KIND_INT;
    value.as.integer = x;
    return out->put(out, isard_string(key), &value);
}

ISARD_HELPER isard_status isard_put_bool(const isard_out *out, const char *key, int x) {
    isard_value value;
    memset(&value, 0, sizeof value);
    value.kind = ISARD_KIND_BOOL;
    value.as.integer = x != 0;
    return out->put(out, isard_string(key), &value);
}

ISARD_HELPER isard_status isard_put_float(const isard_out *out, const char *key, double x) {
    isard_value value;
    memset(&value, 0, sizeof value);
    value.kind = ISARD_KIND_FLOAT;
    value.as.real = x;
    return out->put(out, isard_string(key), &value);
}

ISARD_HELPER isard_status isard_put_text(const isard_out *out, const char *key, const char *x) {
    isard_value value;
    memset(&value, 0, sizeof value);
    value.kind = ISARD_KIND_TEXT;
    value.as.text = isard_string(x);
    return out->put(out, isard_string(key), &value);
}

/* Lends an array; with a keeper it is not copied. */
ISARD_HELPER isard_status isard_put_array(const isard_out *out, const char *key, const isard_array *x) {
    isard_value value;
    memset(&value, 0, sizeof value);
    value.kind = ISARD_KIND_ARRAY;
    value.as.array = *x;
    return out->put(out, isard_string(key), &value);
}

/* Says what went wrong; return what it returns. */
ISARD_HELPER isard_status isard_fail(const isard_out *out, const char *blame, const char *message) {
    isard_put_text(out, "blame", blame);
    isard_put_text(out, "message", message);
    return ISARD_ERROR;
}

/* A number of a flat JSON object, such as the parameters of a stage: the schema has been checked by then. */
ISARD_HELPER double isard_json_number(isard_text json, const char *key, double otherwise) {
    uint64_t n = strlen(key), i;
    for (i = 0; i + n + 2 < json.len; i++) {
        const char *at = json.data + i, *end = json.data + json.len;
        double x = 0, scale = 1, sign = 1;
        int power = 0, up = 1;
        if (at[0] != '"' || memcmp(at + 1, key, n) != 0 || at[n + 1] != '"') continue;
        at += n + 2;
        while (at < end && (*at == ' ' || *at == ':')) at++;
        if (at < end && *at == '-') sign = -1, at++;
        if (at >= end || *at < '0' || *at > '9') continue;
        for (; at < end && *at >= '0' && *at <= '9'; at++) x = 10 * x + (*at - '0');
        if (at < end && *at == '.')
            for (at++; at < end && *at >= '0' && *at <= '9'; at++) x = 10 * x + (*at - '0'), scale *= 10;
        if (at < end && (*at == 'e' || *at == 'E')) {
            at++;
            if (at < end && (*at == '-' || *at == '+')) up = *at == '-' ? -1 : 1, at++;
            for (; at < end && *at >= '0' && *at <= '9'; at++) power = 10 * power + (*at - '0');
        }
        x = sign * x / scale;
        for (; power > 0; power--) x = up > 0 ? x * 10 : x / 10;
        return x;
    }
    return otherwise;
}

/* Declared here so that C++, too, exports it by this name. */
extern ISARD_EXPORT const struct isard_plugin isard_plugin;

#ifdef __cplusplus
}
#endif

#endif
