/* A stand-in for libnvidia-ml.so.1, where no GPU can be had: two GPUs whose state can change while somebody looks.
 *
 * Environment, each naming a file that need not exist yet:
 *   STAND_IN_TEMPERATURE  its content, an integer, is GPU 0's temperature in degrees Celsius; without the file, 60
 *   STAND_IN_LOST         while it exists, GPU 1 is lost; "1" loses it from the start
 *   STAND_IN_FAILED       while it exists, no call gets an answer, as after the driver was updated underneath
 * STAND_IN_PLAIN=1 gives GPU 1 no power or utilisation sensor.
 *
 * Compiled with -DOLD_DRIVER it has only the calls of drivers before 535: temperature and throttle reasons under their
 * older names. With -DDRIVER_NOT_LOADED the library is there and the kernel's module is not. With -DNO_CLOCKS it lacks
 * nvmlDeviceGetClockInfo.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int nvmlReturn_t;
enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED_CODE = 9, GPU_IS_LOST = 15, UNKNOWN = 999 };
enum { CLOCK_SM = 1, CLOCK_MEMORY = 2 };
enum { REASON_IDLE = 0x1, REASON_POWER_CAP = 0x4 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int version; int sensor; int temperature; } temperature_t;

static const unsigned long long GIBIBYTE = 1ull << 30;
static const char *const UUIDS[] = {"GPU-aaaa", "GPU-bbbb"};

static int is_one(const char *name) { const char *value = getenv(name); return value && strcmp(value, "1") == 0; }
static int exists(const char *name) { const char *path = getenv(name); return path && access(path, F_OK) == 0; }
static unsigned long index_of(void *device) { return (unsigned long)device - 1; }
static int is_plain(void *device) { return index_of(device) == 1 && is_one("STAND_IN_PLAIN"); }

/* What every call begins with: whether the driver and this GPU answer. */
static nvmlReturn_t state_of(unsigned long index) {
    if (exists("STAND_IN_FAILED")) return UNKNOWN;
    if (index == 1 && (is_one("STAND_IN_LOST") || exists("STAND_IN_LOST"))) return GPU_IS_LOST;
    return SUCCESS;
}
#define ANSWER_OR_RETURN(index) do { nvmlReturn_t state = state_of(index); if (state) return state; } while (0)

static int celsius_of(void *device) {
    int celsius = 60 + (int)index_of(device);
    const char *path = getenv("STAND_IN_TEMPERATURE");
    FILE *file = path && index_of(device) == 0 ? fopen(path, "r") : NULL;
    if (!file) return celsius;
    if (fscanf(file, "%d", &celsius) != 1) celsius = 60;
    fclose(file);
    return celsius;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
#ifdef DRIVER_NOT_LOADED
    return DRIVER_NOT_LOADED_CODE;
#else
    return state_of(0);
#endif
}

nvmlReturn_t nvmlShutdown(void) { return state_of(0); }
const char *nvmlErrorString(nvmlReturn_t code) { return code == GPU_IS_LOST ? "GPU is lost" : "Unknown Error"; }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    ANSWER_OR_RETURN(0);
    *count = 2;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    ANSWER_OR_RETURN(index);
    *device = (void *)(unsigned long)(index + 1);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    for (unsigned int index = 0; index < 2; index++)
        if (strcmp(uuid, UUIDS[index]) == 0) return nvmlDeviceGetHandleByIndex_v2(index, device);
    return NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    ANSWER_OR_RETURN(index_of(device));
    snprintf(uuid, length, "%s", UUIDS[index_of(device)]);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    ANSWER_OR_RETURN(index_of(device));
    memory->total = (80 + index_of(device)) * GIBIBYTE;
    memory->used = 2 * GIBIBYTE;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates) {
    ANSWER_OR_RETURN(index_of(device));
    if (is_plain(device)) return NOT_SUPPORTED;
    rates->gpu = index_of(device) ? 0 : 75;
    rates->memory = 10;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    ANSWER_OR_RETURN(index_of(device));
    if (is_plain(device)) return NOT_SUPPORTED;
    *milliwatts = index_of(device) ? 70250 : 323500;
    return SUCCESS;
}

#ifndef NO_CLOCKS
nvmlReturn_t nvmlDeviceGetClockInfo(void *device, int clock, unsigned int *megahertz) {
    ANSWER_OR_RETURN(index_of(device));
    if (clock != CLOCK_SM && clock != CLOCK_MEMORY) return NOT_SUPPORTED;
    *megahertz = clock == CLOCK_MEMORY ? 2619 : index_of(device) ? 345 : 1500;
    return SUCCESS;
}
#endif

/* GPU 0 works at its power cap; GPU 1 idles. */
static nvmlReturn_t reasons_of(void *device, unsigned long long *reasons) {
    ANSWER_OR_RETURN(index_of(device));
    *reasons = index_of(device) ? REASON_IDLE : REASON_POWER_CAP;
    return SUCCESS;
}

#ifdef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    (void)sensor;
    ANSWER_OR_RETURN(index_of(device));
    *celsius = (unsigned int)celsius_of(device);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    return reasons_of(device, reasons);
}
#else
nvmlReturn_t nvmlDeviceGetTemperatureV(void *device, temperature_t *reading) {
    ANSWER_OR_RETURN(index_of(device));
    reading->temperature = celsius_of(device);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons) {
    return reasons_of(device, reasons);
}
#endif
