#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) {
    for (; size > 0x10000; data += 0x10000, size -= 0x10000) SystemFunction036(data, 0x10000);
    return SystemFunction036(data, (ULONG)size);
}
