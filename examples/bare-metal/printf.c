/*
 * printf.c: what newlib's printf asks of a machine without an operating system; its text leaves
 * through semihosting. A program that prints nothing does without this file.
 */
#include <stddef.h>

int _write(int file, const char *text, int count);
int _read(int file, char *text, int count);
int _close(int file);
int _fstat(int file, void *status);
int _isatty(int file);
int _lseek(int file, int offset, int from);
int _kill(int process, int number);
int _getpid(void);
void *_sbrk(ptrdiff_t more);

int _write(int file, const char *text, int count)
{
  (void)file;
  for (int i = 0; i < count; ++i) {
    register int r0 __asm__("r0") = 0x03; /* SYS_WRITEC: one character */
    register const char *r1 __asm__("r1") = text + i;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  }
  return count;
}

/* The heap, where printf keeps its buffer. */
void *_sbrk(ptrdiff_t more)
{
  static char heap[8192];
  static ptrdiff_t used;
  if (more > (ptrdiff_t)sizeof heap - used) return (void *)-1;
  used += more;
  return heap + used - more;
}

/* Files and processes, of which there are none. */
int _read(int file, char *text, int count)
{
  (void)file, (void)text, (void)count;
  return 0;
}

int _close(int file)
{
  (void)file;
  return -1;
}

int _fstat(int file, void *status)
{
  (void)file, (void)status;
  return -1;
}

int _isatty(int file)
{
  (void)file;
  return 1;
}

int _lseek(int file, int offset, int from)
{
  (void)file, (void)offset, (void)from;
  return 0;
}

int _kill(int process, int number)
{
  (void)process, (void)number;
  return -1;
}

int _getpid(void)
{
  return 1;
}
