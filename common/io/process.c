#include "common/io/process.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* What would write session keys to a file, load code or another configuration, or send traffic elsewhere. */
static const char *const unwanted[] = {
	"SSLKEYLOGFILE",
	"OPENSSL_CONF",
	"OPENSSL_CONF_INCLUDE",
	"OPENSSL_MODULES",
	"OPENSSL_ENGINES",
	"SSL_CERT_FILE",
	"SSL_CERT_DIR",
	"GNUTLS_SYSTEM_PRIORITY_FILE",
	"GNUTLS_DEBUG_LEVEL",
	"GNUTLS_SYSTEM_PRIORITY_FAIL_ON_INVALID",
	"GNUTLS_FORCE_FIPS_MODE",
	"GNUTLS_SKIP_FIPS_INTEGRITY_CHECKS",
	"http_proxy",
	"https_proxy",
	"HTTPS_PROXY",
	"all_proxy",
	"ALL_PROXY",
	"no_proxy",
	"NO_PROXY",
	"CURL_CA_BUNDLE",
	"CURL_HOME",
	"CURL_SSL_BACKEND",
	"HOSTALIASES",
	"LOCALDOMAIN",
	"RES_OPTIONS",
	"P11_KIT_DEBUG",
};

kms_err_t process_harden(diag_t *why)
{
	const struct rlimit none = {0, 0};
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return diag_fail(why, KMS_E_IO, "cannot make the process undumpable: %m");
	if (setrlimit(RLIMIT_CORE, &none) != 0)
		return diag_fail(why, KMS_E_IO, "cannot switch core dumps off: %m");
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return diag_fail(why, KMS_E_IO, "cannot ignore SIGPIPE: %m");
	(void)umask(077);
	for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
		if (unsetenv(unwanted[i]) != 0)
			return diag_fail(why, KMS_E_IO, "cannot clear %s: %m", unwanted[i]);
	return KMS_OK;
}

kms_err_t process_lock_all(diag_t *why)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
		return diag_fail(
			why, KMS_E_NOMEM,
			"cannot lock memory: %m (raise LimitMEMLOCK= or `ulimit -l`, or grant CAP_IPC_LOCK)");
	return KMS_OK;
}
