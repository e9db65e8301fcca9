/* What user-mode Linux calls, done as our machines need it. */

enum { PTRACE_PEEKTEXT = 1, PTRACE_PEEKUSR = 3, PTRACE_GETREGSET = 0x4204, PTRACE_SETREGSET };
enum { NT_X86_XSTATE = 0x202, SYS_ptrace = 101 };

struct vector {
    void *base;
    unsigned long length;
};

long syscall(long number, ...);
void *memcpy(void *to, const void *from, unsigned long length);
void _exit(int status);

static char whole[1 << 16];

/* User-mode Linux before 6.13 saves and restores the vector registers of its guest's processes in a
 * buffer whose size was settled when it was built. Hosts with newer registers (AMX) have a larger
 * state and refuse to take less than all of it. The missing end is filled up with what the process
 * has.
 */
static long set_vector_registers(long process, struct vector *given)
{
    struct vector all = { whole, sizeof whole };
    if (syscall(SYS_ptrace, (long)PTRACE_GETREGSET, process, (long)NT_X86_XSTATE, &all) < 0)
        return -1;
    if (given->length >= all.length)
        return syscall(SYS_ptrace, (long)PTRACE_SETREGSET, process, (long)NT_X86_XSTATE, given);
    memcpy(whole, given->base, given->length);
    return syscall(SYS_ptrace, (long)PTRACE_SETREGSET, process, (long)NT_X86_XSTATE, &all);
}

/* The C library's is variadic, which is called in the same way. */
long ptrace(long request, long process, long address, long data)
{
    long word;
    if (request == PTRACE_SETREGSET && address == NT_X86_XSTATE)
        return set_vector_registers(process, (struct vector *)data);
    if (request < PTRACE_PEEKTEXT || request > PTRACE_PEEKUSR)
        return syscall(SYS_ptrace, request, process, address, data);
    if (syscall(SYS_ptrace, request, process, address, &word) < 0)
        return -1;
    return word;
}

/* A reboot starts the program again. It is the end of the machine instead, as QEMU's -no-reboot. */
int execvp(const char *file, char *const arguments[])
{
    _exit(0);
    return -1;
}
