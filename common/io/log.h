/* The programs' own log (not the audit log): one line a message on standard error, RFC 5424 severity prefix
 * "<6>" when standard error is the journal, RFC 3339 UTC time otherwise. Never a secret, never a body.
 * Thread-safe. Only the edges (main, http, committer) log; libraries return errors. */
#ifndef CLAVIGER_COMMON_IO_LOG_H
#define CLAVIGER_COMMON_IO_LOG_H

typedef enum log_level {
	LOG_ERR_ = 3,
	LOG_WARN_ = 4,
	LOG_NOTICE_ = 5,
	LOG_INFO_ = 6,
	LOG_DEBUG_ = 7
} log_level_t;

void log_init(const char *program, log_level_t most);
__attribute__((format(printf, 2, 3))) void log_msg(log_level_t level, const char *fmt, ...);

#define log_error(...)  log_msg(LOG_ERR_, __VA_ARGS__)
#define log_warn(...)   log_msg(LOG_WARN_, __VA_ARGS__)
#define log_notice(...) log_msg(LOG_NOTICE_, __VA_ARGS__)
#define log_info(...)   log_msg(LOG_INFO_, __VA_ARGS__)
#define log_debug(...)  log_msg(LOG_DEBUG_, __VA_ARGS__)

#endif
