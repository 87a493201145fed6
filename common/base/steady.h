/* The clock that nobody sets (CLOCK_MONOTONIC), and waiting by it: a time limit of the program's own stays
 * what it is when an operator or NTP changes the date. */
#ifndef CLAVIGER_COMMON_BASE_STEADY_H
#define CLAVIGER_COMMON_BASE_STEADY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Since an instant that means nothing outside this machine's run. */
int64_t steady_ms(void);

/* A signal that is handled ends it sooner. */
void steady_pause(int64_t ms);

/* A condition for steady_wait; ended by pthread_cond_destroy. */
void steady_cond_init(pthread_cond_t *c);
/* pthread_cond_timedwait until a time of steady_ms. False: that time has come. */
bool steady_wait(pthread_cond_t *c, pthread_mutex_t *lock, int64_t until_ms);

#endif
