/* A stand-in for libnvidia-ml.so.1, where no GPU can be had: two GPUs, the second of which can be lost.
 *
 * Environment: STAND_IN_LOST=1 loses GPU 1; STAND_IN_PLAIN=1 gives it no power or utilisation sensor.
 * Compiled with -DOLD_DRIVER it lacks nvmlDeviceGetTemperatureV, as drivers before 570 do.
 */
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
enum { SUCCESS = 0, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int version; int sensor; int temperature; } temperature_t;

static int set(const char *name) { const char *value = getenv(name); return value && *value == '1'; }
static unsigned long index_of(void *device) { return (unsigned long)device - 1; }

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) { (void)flags; return SUCCESS; }
nvmlReturn_t nvmlInit_v2(void) { return SUCCESS; }
nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t code) { return code == GPU_IS_LOST ? "GPU is lost" : "Not Supported"; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return SUCCESS; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index == 1 && set("STAND_IN_LOST")) return GPU_IS_LOST;
    *device = (void *)(unsigned long)(index + 1);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    strncpy(uuid, index_of(device) ? "GPU-bbbb" : "GPU-aaaa", length);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    memory->total = 1000 + index_of(device);
    memory->used = 100;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates) {
    if (index_of(device) == 1 && set("STAND_IN_PLAIN")) return NOT_SUPPORTED;
    rates->gpu = index_of(device) ? 0 : 75;
    rates->memory = 10;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    if (index_of(device) == 1 && set("STAND_IN_PLAIN")) return NOT_SUPPORTED;
    *milliwatts = 123500;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    (void)sensor;
    *celsius = 40 + (unsigned int)index_of(device);
    return SUCCESS;
}

#ifndef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetTemperatureV(void *device, temperature_t *reading) {
    reading->temperature = 60 + (int)index_of(device);
    return SUCCESS;
}
#endif
