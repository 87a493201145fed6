/* Every operation of the API: its name in policies and events, and how it is recorded. A route
 * (kms-server/http) names one of these; one without a policy action does not compile. */
#ifndef CLAVIGER_KMS_SERVER_CORE_OPS_H
#define CLAVIGER_KMS_SERVER_CORE_OPS_H

/* Of the one request whose body may be longer than others': it holds a volume's header in base64. */
#define CORE_HEADER_BODY_MAX (2U * 1024U * 1024U)

/*      id                 action (policy, api.operation)   OCSF class, activity */
#define CORE_OPS(X)                                                                                          \
	X(OP_SEAL_STATUS, "sys.seal-status", 6003, 2)                                                        \
	X(OP_UNSEAL, "sys.unseal", 6002, 6)                                                                  \
	X(OP_SEAL, "sys.seal", 6002, 7)                                                                      \
	X(OP_ENROLL, "node.enroll", 3004, 1)                                                                 \
	X(OP_RENEW, "identity.renew", 3004, 3)                                                               \
	X(OP_OPERATOR_PUT, "operator.create", 3004, 1)                                                       \
	X(OP_OPERATOR_GET, "operator.read", 6003, 2)                                                         \
	X(OP_OPERATOR_LIST, "operator.list", 6003, 2)                                                        \
	X(OP_OPERATOR_REVOKE, "operator.revoke", 3004, 4)                                                    \
	X(OP_OPERATOR_SUSPEND, "operator.suspend", 3004, 3)                                                  \
	X(OP_OPERATOR_RESUME, "operator.resume", 3004, 3)                                                    \
	X(OP_OPERATOR_INVITE, "operator.invite", 3004, 1)                                                    \
	X(OP_OPERATOR_ENROLL, "operator.enroll", 3004, 1)                                                    \
	X(OP_OPERATOR_UPDATE, "operator.update", 3004, 3)                                                    \
	X(OP_OPERATOR_RECERTIFY, "operator.recertify", 3004, 3)                                              \
	X(OP_CUSTOMER_PUT, "customer.create", 3004, 1)                                                       \
	X(OP_CUSTOMER_GET, "customer.read", 6003, 2)                                                         \
	X(OP_CUSTOMER_LIST, "customer.list", 6003, 2)                                                        \
	X(OP_SERVICE_PUT, "service.create", 3004, 1)                                                         \
	X(OP_SERVICE_GET, "service.read", 6003, 2)                                                           \
	X(OP_SERVICE_LIST, "service.list", 6003, 2)                                                          \
	X(OP_NODE_INVITE, "node.invite", 3004, 1)                                                            \
	X(OP_NODE_GET, "node.read", 6003, 2)                                                                 \
	X(OP_NODE_LIST, "node.list", 6003, 2)                                                                \
	X(OP_NODE_REVOKE, "node.revoke", 3004, 4)                                                            \
	X(OP_NODE_SUSPEND, "node.suspend", 3004, 3)                                                          \
	X(OP_NODE_RESUME, "node.resume", 3004, 3)                                                            \
	X(OP_VOLUME_PUT, "volume.create", 3004, 1)                                                           \
	X(OP_VOLUME_GET, "volume.read", 6003, 2)                                                             \
	X(OP_VOLUME_LIST, "volume.list", 6003, 2)                                                            \
	X(OP_VOLUME_COMMIT, "volume.commit", 6003, 3)                                                        \
	X(OP_VOLUME_REFUSED, "volume.refused", 6003, 3)                                                      \
	X(OP_VOLUME_PROVE, "volume.prove", 6003, 3)                                                          \
	X(OP_HEADER_PUT, "header.store", 6003, 3)                                                            \
	X(OP_HEADER_GET, "header.read", 6003, 2)                                                             \
	X(OP_VOLUME_REFORMAT, "volume.reformat", 6003, 3)                                                    \
	X(OP_VOLUME_RELEASE, "key.release", 6003, 2)                                                         \
	X(OP_VOLUME_SUSPEND, "volume.suspend", 3004, 3)                                                      \
	X(OP_VOLUME_RESUME, "volume.resume", 3004, 3)                                                        \
	X(OP_VOLUME_ASSIGN, "volume.assign", 3004, 3)                                                        \
	X(OP_VOLUME_DELETE, "volume.delete", 3004, 4)                                                        \
	X(OP_VOLUME_RESTORE, "volume.restore", 3004, 3)                                                      \
	X(OP_ROTATION_STAGE, "rotation.stage", 6003, 3)                                                      \
	X(OP_ROTATION_PROMOTE, "rotation.promote", 6003, 3)                                                  \
	X(OP_ROTATION_RETIRE, "rotation.retire", 6003, 3)                                                    \
	X(OP_ROTATION_ABORT, "rotation.abort", 6003, 3)                                                      \
	X(OP_REENCRYPTION_START, "reencryption.start", 6003, 3)                                              \
	X(OP_REENCRYPTION_PROGRESS, "reencryption.progress", 6003, 3)                                        \
	X(OP_REENCRYPTION_PROMOTE, "reencryption.promote", 6003, 3)                                          \
	X(OP_REENCRYPTION_ABORT, "reencryption.abort", 6003, 3)                                              \
	X(OP_NODE_RELEASE, "key.release", 6003, 2)                                                           \
	X(OP_NODE_TASKS, "node.tasks", 6003, 2)                                                              \
	X(OP_NODE_REPORT, "node.report", 6003, 3)                                                            \
	X(OP_MAINT_CREATE, "maintenance.create", 3004, 1)                                                    \
	X(OP_MAINT_PLAN, "maintenance.plan", 6003, 2)                                                        \
	X(OP_MAINT_GET, "maintenance.read", 6003, 2)                                                         \
	X(OP_MAINT_LIST, "maintenance.list", 6003, 2)                                                        \
	X(OP_MAINT_OPEN, "maintenance.open", 3004, 3)                                                        \
	X(OP_MAINT_CLOSE, "maintenance.close", 3004, 3)                                                      \
	X(OP_MAINT_HALT, "maintenance.halt", 3004, 3)                                                        \
	X(OP_MAINT_PAUSE, "maintenance.pause", 3004, 3)                                                      \
	X(OP_MAINT_ABORT, "maintenance.abort", 3004, 3)                                                      \
	X(OP_AUDIT_LIST, "audit.query", 6003, 2)                                                             \
	X(OP_AUDIT_GET, "audit.read", 6003, 2)                                                               \
	X(OP_AUDIT_PROOF, "audit.proof", 6003, 2)                                                            \
	X(OP_LOG_CHECKPOINT, "log.checkpoint", 6003, 2)                                                      \
	X(OP_LOG_VKEY, "log.vkey", 6003, 2)                                                                  \
	X(OP_LOG_TILE, "log.tile", 6003, 2)                                                                  \
	X(OP_LOG_ENTRIES, "log.entries", 6003, 2)                                                            \
	X(OP_POLICY_LIST, "policy.list", 6003, 2)                                                            \
	X(OP_POLICY_GET, "policy.read", 6003, 2)                                                             \
	X(OP_POLICY_PUT, "policy.put", 3004, 3)                                                              \
	X(OP_POLICY_DELETE, "policy.delete", 3004, 4)                                                        \
	X(OP_GRANT_REQUEST, "grant.request", 3005, 1)                                                        \
	X(OP_GRANT_LIST, "grant.list", 6003, 2)                                                              \
	X(OP_GRANT_GET, "grant.read", 6003, 2)                                                               \
	X(OP_GRANT_APPROVE, "grant.approve", 3005, 1)                                                        \
	X(OP_GRANT_DENY, "grant.deny", 3005, 2)                                                              \
	X(OP_GRANT_REVOKE, "grant.revoke", 3005, 2)                                                          \
	X(OP_REVIEW_LIST, "review.list", 6003, 2)                                                            \
	X(OP_REVIEW_GET, "review.read", 6003, 2)                                                             \
	X(OP_REVIEW_CLOSE, "review.close", 2005, 3)                                                          \
	X(OP_UNKNOWN, "api.unknown", 6003, 99)

typedef enum core_op {
#define X(id, action, class_uid, activity) id,
	CORE_OPS(X)
#undef X
		OP_COUNT
} core_op_t;

typedef struct core_op_info {
	const char *action;
	int class_uid;
	int activity_id;
} core_op_info_t;

const core_op_info_t *core_op_info(core_op_t op);

#endif
