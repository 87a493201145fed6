/* What a document may say and what not: each refusal with its place. */
#include "policy/document.h"

#include "common/base/buf.h"
#include "common/base/scope.h"
#include "tests/support/allocfail.h"
#include "tests/unit/policy/policy_support.h"

#include <stdio.h>

/* ' stands for ". */
static kms_err_t parse(const char *text, policy_document_t **out, policy_error_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_str(&b, text);
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] == '\'')
			b.p[i] = '"';
	return policy_parse("test", buf_span(&b), out, why);
}

typedef struct bad {
	const char *text;
	unsigned line, column;
	const char *says;
} bad_t;

#define DOC(s)     "{'version':1,'statements':[\n" s "\n]}"
#define WHO        "'name':'a','effect':'allow','principals':['operator:*']"
#define WHAT       "'actions':['*.*'],'resources':['*']"
#define DENY       "'name':'a','effect':'deny','principals':['operator:*']," WHAT
#define IN(c)      DOC("{" WHO "," WHAT ",\n'conditions':{" c "}}")
#define UNLESS(c)  DOC("{" DENY ",\n'unless':" c "}")
#define NAMED(n)   DOC("{'name':" n ",\n'effect':'allow','principals':['operator:*']," WHAT "}")
#define BY(p)      DOC("{'name':'a','effect':'allow'," WHAT ",\n'principals':" p "}")
#define DOES(a)    DOC("{" WHO ",'resources':['*'],\n'actions':" a "}")
#define ON(r)      DOC("{" WHO ",'actions':['*.*'],\n'resources':" r "}")
#define LETTERS_64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

#define LETTERS_256 LETTERS_64 LETTERS_64 LETTERS_64 LETTERS_64
#define LONG        LETTERS_256 LETTERS_256 LETTERS_256 LETTERS_256 "a"

static const bad_t bads[] = {
	{"", 0, 0, "empty"},
	{"x", 1, 1, "expected"},
	{"{", 1, 2, "ends too early"},
	{"[]", 1, 1, "must be an object"},
	{"{'version':1}", 1, 1, "\"statements\" is missing"},
	{"{'statements':[]}", 1, 1, "\"version\" is missing"},
	{"{'version':2,'statements':[]}", 1, 12, "version: must be 1"},
	{"{'version':1.0,'statements':[]}", 1, 12, "must be 1"},
	{"{'version':'1','statements':[]}", 1, 12, "must be 1"},
	{"{'version':1,'statements':{}}", 1, 27, "must be an array"},
	{"{'version':1,'statements':[],'extra':1}", 1, 30, "\"extra\" is not known here: there is version"},
	{"{'version':1,'Version':1,'statements':[]}", 1, 14, "\"Version\" is not known"},
	{"{'version':1,'version':1,'statements':[]}", 1, 23, "twice"},
	{"{'version':1,'statements':[1]}", 1, 28, "statements[0]: must be an object"},
	{"{'version':1,'statements':[]} x", 1, 32, "something after"},
	{DOC("{'name':'a','na\\u006de':'b'}"), 2, 24, "twice"},
	{DOC("{" WHO "," WHAT ",'if':{}}"), 2, 94, "\"if\" is not known"},
	{DOC("{" WHO ",'actions':['*.*']}"), 2, 1, "\"resources\" is missing"},

	{NAMED("'A'"), 2, 9, "is no name"},
	{NAMED("'" LETTERS_64 "'"), 2, 9, "is no name"},
	{NAMED("''"), 2, 9, "is no name"},
	{NAMED("'a%2eb'"), 2, 9, "\"a%2eb\" is no name"},
	{NAMED("'../a'"), 2, 9, "is no name"},
	{NAMED("'*'"), 2, 9, "is no name"},
	{NAMED("'\\u0430'"), 2, 9, "\"??\" is no name"},
	{NAMED("'a\\u0000'"), 2, 18, "NUL"},
	{NAMED("1"), 2, 9, "must be a string"},
	{NAMED("'default-deny'"), 2, 9, "no statement matched"},
	{DOC("{" WHO "," WHAT "},\n{" WHO "," WHAT "}"), 3, 2, "statements[0] is called \"a\" too"},
	{DOC("{'name':'a','effect':'Allow','principals':['operator:*']," WHAT "}"), 2, 22,
	 "\"allow\" or \"deny\""},

	{BY("[]"), 3, 14, "has 0 items"},
	{BY("'role:admin'"), 3, 14, "must be an array"},
	{BY("['*']"), 3, 15, "is no principal"},
	{BY("['admin']"), 3, 15, "is no principal"},
	{BY("['role:admin','role:*']"), 3, 28, "names no role"},
	{BY("['role:root']"), 3, 15, "names no role"},
	{BY("['Role:admin']"), 3, 15, "is no principal"},
	{BY("['group:*']"), 3, 15, "holds no name"},
	{BY("['group:']"), 3, 15, "holds no name"},
	{BY("['operator:Bob']"), 3, 15, "holds no name"},
	{BY("['operator:bob ']"), 3, 15, "holds no name"},
	{BY("['scoped:bob']"), 3, 15, "names no role"},
	{BY("['node:a/b']"), 3, 15, "is no principal"},
	{BY("['node:a/b/c/d']"), 3, 15, "is no principal"},
	{BY("['node:a//c']"), 3, 15, "is no principal"},
	{BY("['node:a/../c']"), 3, 15, "is no principal"},
	{BY("['node:']"), 3, 15, "is no principal"},
	{BY("['node:a/b/c*']"), 3, 15, "is no principal"},
	{BY("[null]"), 3, 15, "must be a string"},

	{DOES("[]"), 3, 11, "has 0 items"},
	{DOES("['*']"), 3, 12, "is no action"},
	{DOES("['key.burn']"), 3, 12, "there is no action \"key.burn\""},
	{DOES("['Key.release']"), 3, 12, "there is no action"},
	{DOES("['key.rel*']"), 3, 12, "there is no action"},
	{DOES("['key.release.x']"), 3, 12, "there is no action"},
	{DOES("['key.']"), 3, 12, "there is no action"},
	{DOES("['.release']"), 3, 12, "there is no action"},
	{DOES("['']"), 3, 12, "is no action"},

	{ON("['']"), 3, 14, "is no resource"},
	{ON("['disk:a']"), 3, 14, "is no resource"},
	{ON("['**']"), 3, 14, "is no resource"},
	{ON("['volume']"), 3, 14, "write volume:CUSTOMER/SERVICE/NAME"},
	{ON("['volume:*']"), 3, 14, "write volume:"},
	{ON("['volume:a/b/c/d']"), 3, 14, "write volume:"},
	{ON("['volume:a/b/c*']"), 3, 14, "write volume:"},
	{ON("['volume:a/b/%2e']"), 3, 14, "write volume:"},
	{ON("['volume:a/b/C']"), 3, 14, "write volume:"},
	{ON("['service:a/b/c']"), 3, 14, "write service:"},
	{ON("['operator:a/b']"), 3, 14, "write operator:NAME"},
	{ON("['operator:${self}']"), 3, 14, "write operator:NAME"},
	{ON("['volume:a/b/${SELF}']"), 3, 14, "write volume:"},
	{ON("['sys:']"), 3, 14, "write sys"},
	{ON("['sys:x']"), 3, 14, "write sys"},
	{ON("['${self}']"), 3, 14, "is no resource"},

	{IN("'networks':[]"), 3, 26, "has 0 items"},
	{IN("'networks':['10.0.0.1/8']"), 3, 27, "write 10.0.0.0/8"},
	{IN("'networks':['10.0.0.1']"), 3, 27, "not a network"},
	{IN("'networks':['::ffff:10.0.0.0/104']"), 3, 27, "write 10.0.0.0/8"},
	{IN("'networks':['10.0.0.0/33']"), 3, 27, "is not a network"},
	{IN("'maintenance':'yes'"), 3, 29, "true or false"},
	{IN("'own':false"), 3, 21, "can only be true"},
	{IN("'own_customers':1"), 3, 31, "can only be true"},
	{IN("'grant':false"), 3, 23, "can only be true"},
	{IN("'node_new_address':false"), 3, 34, "can only be true"},
	{IN("'node_unseen_days':0"), 3, 34, "from 1 to 36500"},
	{IN("'certificate_age_days':-1"), 3, 38, "from 1 to 36500"},
	{IN("'certificate_age_days':36501"), 3, 38, "from 1 to 36500"},
	{IN("'certificate_age_days':1.5"), 3, 38, "whole number"},
	{IN("'hours':[{}]"), 3, 24, "\"zone\" is missing"},
	{IN("'hours':[{'zone':'CET'}]"), 3, 32, "is no zone"},
	{IN("'hours':[{'zone':'+14:01'}]"), 3, 32, "is no zone"},
	{IN("'hours':[{'zone':'-12:01'}]"), 3, 32, "is no zone"},
	{IN("'hours':[{'zone':'+1:00'}]"), 3, 32, "is no zone"},
	{IN("'hours':[{'zone':'Z','days':[]}]"), 3, 43, "has 0 items"},
	{IN("'hours':[{'zone':'Z','days':['Mon']}]"), 3, 44, "is no day"},
	{IN("'hours':[{'zone':'Z','days':['mon','mon']}]"), 3, 50, "twice"},
	{IN("'hours':[{'zone':'Z','from':'08:00'}]"), 3, 24, "go together"},
	{IN("'hours':[{'zone':'Z','from':'08:00','to':'08:00'}]"), 3, 24, "are the same"},
	{IN("'hours':[{'zone':'Z','from':'24:00','to':'08:00'}]"), 3, 43, "is no time"},
	{IN("'hours':[{'zone':'Z','from':'8:00','to':'18:00'}]"), 3, 43, "is no time"},
	{IN("'hours':[{'zone':'Z','from':'08-00','to':'18:00'}]"), 3, 43, "is no time"},
	{IN("'hours':[{'zone':'Z','from':'08:60','to':'18:00'}]"), 3, 43, "is no time"},
	{IN("'reasons':['Test']"), 3, 26, "is no name"},
	{IN("'ticket':''"), 3, 24, "1 to 128 bytes"},
	{IN("'ticket':'a\\n'"), 3, 24, "control characters"},
	{IN("'approvals':{'count':1}"), 3, 27, "\"from\" is missing"},
	{IN("'approvals':{'from':['role:admin']}"), 3, 27, "\"count\" is missing"},
	{IN("'approvals':{'count':0,'from':['role:admin']}"), 3, 36, "from 1 to 16"},
	{IN("'approvals':{'count':17,'from':['role:admin']}"), 3, 36, "from 1 to 16"},
	{IN("'approvals':{'count':1,'from':[]}"), 3, 45, "has 0 items"},
	{IN("'approvals':{'count':1,'from':['node:*']}"), 3, 46, "can approve"},
	{IN("'approvals':{'count':1,'from':['scoped:*']}"), 3, 46, "can approve"},
	{IN("'approvals':{'count':1,'from':['anonymous']}"), 3, 46, "can approve"},
	{IN("'ip':'10.0.0.0/8'"), 3, 15, "\"ip\" is not known here: there is networks"},

	{DOC("{" WHO "," WHAT ",\n'unless':{'own':true}}"), 3, 1, "only a deny has it"},
	{DOC("{" DENY ",\n'conditions':{'approvals':{'count':1,'from':['role:admin']}}}"), 3, 1,
	 "deny because of approvals"},
	{UNLESS("{}"), 3, 10, "unless: is empty"},
	{UNLESS("[]"), 3, 10, "has 0 items"},
	{UNLESS("[{'own':true},{}]"), 3, 24, "unless[1]: is empty"},
	{UNLESS("[{'own':true},{'own':true},{'own':true},{'own':true},{'own':true}]"), 3, 10, "has 5 items"},
	{UNLESS("'never'"), 3, 10, "must be an object"},
	/* not a string where one is meant, or one that no pattern is as long as */
	{DOC("{'name':'a','effect':1,'principals':['operator:*']," WHAT "}"), 2, 22, "must be a string"},
	{DOES("[1]"), 3, 12, "must be a string"},
	{DOES("['key.release','" LONG "']"), 3, 26, "longer than 1024"},
	{ON("[1]"), 3, 14, "must be a string"},
	{BY("['" LONG "']"), 3, 15, "longer than 1024"},
	{IN("'networks':[1]"), 3, 27, "must be a string"},
	{IN("'hours':[{'zone':1}]"), 3, 32, "must be a string"},
	{IN("'hours':[{'zone':'Z','days':[1]}]"), 3, 44, "must be a string"},
	{IN("'hours':[{'zone':'Z','from':1,'to':'08:00'}]"), 3, 43, "must be a string"},
	{IN("'hours':[{'zone':'Z','from':'a8:00','to':'18:00'}]"), 3, 43, "is no time"},
	{IN("'ticket':1"), 3, 24, "must be a string"},
	{IN("'ticket':'" LETTERS_64 LETTERS_64 "a'"), 3, 24, "1 to 128 bytes"},
	{IN("'ticket':'\x7f'"), 3, 24, "control characters"},
	{IN("'approvals':{'count':1,'from':[1]}"), 3, 46, "must be a string"},
	{BY("['role:" LETTERS_64 LETTERS_64 "']"), 3, 15, "...\" names no role"},

	/* places behind everything that JSON may have between values */
	{"{ \t'version'\r\n:\t1 ,\n\t'description' : 'a\\\\\\'b' , 'statements' : [ ] ,'x':[{'y':[]}] }", 3,
	 49, "\"x\" is not known"},
	{"{'version':1,'statements':[{'name':{'a':[1,{'b':']}'}]},'effect':'x'}]}", 1, 36,
	 "must be a string"},
	{"{'description':'\xc3\xa4\xe2\x82\xac','version':3,'statements':[]}", 1, 31, "must be 1"},
};

static void test_refusals(void **state)
{
	(void)state;
	unsigned wrong = 0;
	for (size_t i = 0; i < COUNT(bads); i++) {
		policy_document_t *d = NULL;
		policy_error_t why = {0};
		kms_err_t e = parse(bads[i].text, &d, &why);
		if (e != KMS_E_INVALID || d != NULL || strstr(why.why.text, bads[i].says) == NULL ||
		    why.line != bads[i].line || why.column != bads[i].column)
			wrong++, print_error("%s\n-> %s, %u:%u: %s\n", bads[i].text, kms_err_name(e),
					     why.line, why.column, why.why.text);
	}
	assert_int_equal(wrong, 0);
}

static const char *const goods[] = {
	"{'version':1,'statements':[]}",
	"{'description':'\xc3\xa4','version':1,'statements':[]}",
	DOC("{" WHO "," WHAT ",'description':'why [ { \\\" ] , :','conditions':{}}"),
	BY("['anonymous','node:*','node:a/*/c','node:*/*/"
	   "*','operator:*','operator:a','role:approver','group:g','scoped:*',"
	   "'scoped:auditor']"),
	DOES("['key.*','*.release','*.*','key.release']"),
	ON("['*','sys','log','identity','api','customer:','customer:*','customer:${self}','service:a/"
	   "','volume:a/*/${self}',"
	   "'event:a//','operator:','grant:*']"),
	IN("'networks':['0.0.0.0/0','::/0','2001:db8::/"
	   "32'],'maintenance':false,'own':true,'own_customers':true,'bootstrap':true,"
	   "'certificate_age_days':36500,'node_unseen_days':1,'node_new_address':true,'grant':true,'break_"
	   "glass':false,"
	   "'reasons':['a'],'ticket':'*','approvals':{'count':16,'from':['operator:*','group:g']}"),
	IN("'hours':[{'zone':'+14:00'},{'zone':'-12:00','from':'23:00','to':'00:00','days':['mon','sun']}]"),
	UNLESS("{'own':true}"),
	UNLESS("[{'own':true},{'own':true},{'own':true},{'own':true}]"),
	"\t\r\n {'version' : 1 ,\n 'statements' : [ ] } \n",
};

static void test_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(goods); i++) {
		SCOPED(policy_document_freep) policy_document_t *d = NULL;
		policy_error_t why = {0};
		if (parse(goods[i], &d, &why) != KMS_OK)
			fail_msg("%zu: %u:%u: %s", i, why.line, why.column, why.why.text);
		assert_string_equal(policy_document_name(d), "test");
		for (size_t k = 0; k < policy_document_statements(d); k++)
			assert_string_equal(policy_document_statement(d, k), "a");
	}
}

/* --- limits --- */

static void many(buf_t *b, size_t n)
{
	buf_str(b, "{\"version\":1,\"statements\":[");
	for (size_t i = 0; i < n; i++) {
		buf_printf(b,
			   "%s{\"name\":\"a%zu\",\"effect\":\"allow\",\"principals\":[\"anonymous\"],"
			   "\"actions\":[\"*.*\"],\"resources\":[\"*\"]}",
			   i > 0 ? "," : "", i);
	}
	buf_str(b, "]}");
}

static void test_wide(void **state)
{
	(void)state;
	static const struct {
		size_t n;
		kms_err_t e;
		const char *says;
	} rows[] = {{500, KMS_OK, ""},
		    {501, KMS_E_INVALID, "has 501 items"},
		    {2000, KMS_E_FULL, "longer than 65536"}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		SCOPED(policy_document_freep) policy_document_t *d = NULL;
		policy_error_t why = {0};
		many(&b, rows[i].n);
		assert_int_equal(policy_parse("test", buf_span(&b), &d, &why), rows[i].e);
		assert_non_null(strstr(why.why.text, rows[i].says));
		assert_int_equal(d != NULL ? policy_document_statements(d) : rows[i].n, rows[i].n);
	}
}

static void test_sizes(void **state)
{
	(void)state;
	for (size_t more = 0; more < 2; more++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		SCOPED(policy_document_freep) policy_document_t *d = NULL;
		policy_error_t why = {0};
		buf_str(&b, "{\"version\":1,\"statements\":[]}");
		while (b.n < POLICY_DOCUMENT_MAX + more)
			buf_u8(&b, ' ');
		assert_int_equal(policy_parse("test", buf_span(&b), &d, &why),
				 more == 0 ? KMS_OK : KMS_E_FULL);
	}
}

static void test_deep(void **state)
{
	(void)state;
	for (size_t depth = 1; depth < 100; depth++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		policy_document_t *d = NULL;
		policy_error_t why = {0};
		buf_str(&b, "{\"version\":1,\"statements\":");
		for (size_t i = 0; i < depth; i++)
			buf_str(&b, "[");
		for (size_t i = 0; i < depth; i++)
			buf_str(&b, "]");
		buf_str(&b, "}");
		assert_int_equal(policy_parse("test", buf_span(&b), &d, &why),
				 depth > 1 ? KMS_E_INVALID : KMS_OK);
		policy_document_free(d);
	}
}

static void test_names_of_documents(void **state)
{
	(void)state;
	static const char *const names[] = {"", "A", "..", "a/b", "a.json", LETTERS_64, "*"};
	for (size_t i = 0; i < COUNT(names); i++) {
		policy_document_t *d = NULL;
		policy_error_t why = {0};
		span_t text = span_str("{\"version\":1,\"statements\":[]}");
		assert_int_equal(policy_parse(names[i], text, &d, &why), KMS_E_INVALID);
		assert_null(d);
		assert_int_equal(policy_parse(names[i], text, &d, NULL), KMS_E_INVALID);
	}
}

/* --- several documents --- */

static policy_document_t *named(const char *name, const char *text)
{
	policy_document_t *d = NULL;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_str(&b, text);
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] == '\'')
			b.p[i] = '"';
	assert_int_equal(policy_parse(name, buf_span(&b), &d, NULL), KMS_OK);
	return d;
}

static void test_several(void **state)
{
	(void)state;
	policy_document_t *twins[] = {named("x", DOC("{" WHO "," WHAT "}")),
				      named("y", DOC("{" WHO "," WHAT "}"))};
	policy_document_t *same[] = {named("x", goods[0]), named("x", goods[0])};
	policy_document_t *fine[] = {named("x", DOC("{" WHO "," WHAT "}")), named("y", goods[0])};
	policy_document_t *too_many[POLICY_DOCUMENTS_MAX + 1];
	policy_t *p = NULL;
	diag_t why = {""};
	assert_int_equal(policy_new(twins, 2, &p, &why), KMS_E_CONFLICT);
	assert_non_null(strstr(why.text, "\"x\""));
	assert_non_null(strstr(why.text, "\"y\""));
	assert_non_null(strstr(why.text, "a statement \"a\""));
	assert_int_equal(policy_new(same, 2, &p, &why), KMS_E_CONFLICT);
	assert_non_null(strstr(why.text, "two documents called \"x\""));
	for (size_t i = 0; i < COUNT(too_many); i++) {
		char name[32];
		(void)snprintf(name, sizeof name, "d%zu", i);
		too_many[i] = named(name, goods[0]);
	}
	assert_int_equal(policy_new(too_many, COUNT(too_many), &p, &why), KMS_E_FULL);
	assert_null(p);
	for (size_t i = 0; i < COUNT(too_many); i++)
		assert_null(too_many[i]); /* taken over on failure too */
	assert_int_equal(policy_new(fine, 2, &p, &why), KMS_OK);
	assert_null(fine[0]);
	policy_free(p);
	policy_free(NULL);
	assert_int_equal(policy_new(NULL, 0, &p, &why), KMS_OK);
	policy_freep(&p);
}

static void test_every_allocation_fails(void **state)
{
	(void)state;
	if (!allocfail_supported())
		skip();
	kms_err_t e = KMS_E_NOMEM;
	for (unsigned nth = 1; e == KMS_E_NOMEM; nth++) {
		SCOPED(policy_freep) policy_t *p = NULL;
		allocfail_arm(nth);
		e = policy_default(&p);
		bool failed = allocfail_happened();
		allocfail_arm(0);
		assert_int_equal(e, failed ? KMS_E_NOMEM : KMS_OK);
		assert_int_equal(p == NULL, failed);
	}
	assert_int_equal(e, KMS_OK);
}

/* A document takes its memory in blocks, so which value it is that there is none for depends on how full the
 * last one is: a first statement fills it, differently each time, before one that has everything. */
#define TEN                                                                                                  \
	"'operator:*','operator:*','operator:*','operator:*','operator:*','operator:*','operator:*','"       \
	"operator:*','operator:*','operator:*'"
#define FILLER                                                                                               \
	"{'name':'%.*s','effect':'allow','principals':[" TEN "," TEN "," TEN                                 \
	"],'actions':['*.*'],'resources':['*'%s]}"
#define EVERYTHING                                                                                           \
	"{'name':'b','effect':'deny','actions':['*.*'],'conditions':{'networks':['::/"                       \
	"0'],'hours':[{'zone':'Z'}]},"                                                                       \
	"'unless':{'reasons':['a'],'ticket':'a','approvals':{'count':1,'from':['role:admin']}},"             \
	"'resources':['volume:a/b/c'],'principals':['node:a/b/c','operator:a']}"

static void fill_block(unsigned units, buf_t *out)
{
	SCOPED(buf_free) buf_t more = BUF_INIT;
	for (unsigned i = 0; i < units / 2; i++)
		buf_str(&more, ",'*'"); /* two units of 16 bytes each */
	buf_u8(&more, 0);
	buf_printf(out, "{'version':1,'statements':[" FILLER "," EVERYTHING "]}", (int)(1 + 16 * (units % 2)),
		   LETTERS_64, (const char *)more.p);
}

static void test_no_memory_for_any_value(void **state)
{
	(void)state;
	if (!allocfail_supported())
		skip();
	for (unsigned units = 0; units < 126; units++) {
		SCOPED(buf_free) buf_t text = BUF_INIT;
		kms_err_t e = KMS_E_NOMEM;
		fill_block(units, &text);
		buf_u8(&text, 0);
		for (unsigned nth = 1; e == KMS_E_NOMEM; nth++) {
			SCOPED(policy_document_freep) policy_document_t *d = NULL;
			policy_error_t why = {0};
			allocfail_arm(nth + 1); /* behind the copy of the text */
			e = parse((const char *)text.p, &d, &why);
			bool failed = allocfail_happened();
			allocfail_arm(0);
			assert_int_equal(e, failed ? KMS_E_NOMEM : KMS_OK);
			assert_int_equal(d == NULL, failed);
		}
		assert_int_equal(e, KMS_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_names_of_documents),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_every_allocation_fails),
		cmocka_unit_test(test_no_memory_for_any_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
