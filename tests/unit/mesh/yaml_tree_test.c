/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include "mesh/yaml_tree.h"

struct parsed {
	struct arena arena;
	struct mesh_report report;
	const struct yaml_node *root;
	int r;
};

static void parsed_release(struct parsed *p)
{
	arena_release(&p->arena);
	mesh_report_release(&p->report);
}

static struct parsed parse_bytes(const char *text, size_t size)
{
	struct parsed p = { .arena = ARENA_INIT, .report = MESH_REPORT_INIT };

	p.r = yaml_tree_parse("t", text, size, &p.arena, &p.root, &p.report);
	return p;
}

#define PARSED(name, text) _cleanup_(parsed_release) struct parsed name = parse_bytes(text, strlen(text))

/* One error, at this place, that says this. */
static void assert_refused(struct parsed *p, uint32_t line, uint32_t column, const char *part)
{
	assert_int_equal(p->r, -EINVAL);
	assert_int_equal(p->report.count, 1);
	if (!strstr(p->report.messages[0].text, part))
		fail_msg("\"%s\" does not say \"%s\"", p->report.messages[0].text, part);
	assert_int_equal(p->report.messages[0].line, line);
	assert_int_equal(p->report.messages[0].column, column);
}

static void test_nodes_know_their_places(void **state)
{
	PARSED(p, "a:\n  - x\n  - {b: 'y'}\n");
	const struct yaml_node *list;

	assert_int_equal(p.r, 0);
	list = yaml_get(p.root, "a");
	assert_int_equal(list->kind, NODE_SEQUENCE);
	assert_int_equal(list->sequence.count, 2);
	assert_int_equal(list->sequence.items[1]->line, 3);
	assert_int_equal(list->sequence.items[1]->column, 5);
	assert_true(list->sequence.items[0]->is_plain);
	assert_false(yaml_get(list->sequence.items[1], "b")->is_plain);
	assert_null(yaml_get(p.root, "c"));
}

static void test_json_is_yaml(void **state)
{
	PARSED(p, "{\"a\":[1,\"\\u00e9\\/\",null],\n\t\"b\":{}}");

	assert_int_equal(p.r, 0);
	assert_string_equal(yaml_get(p.root, "a")->sequence.items[1]->scalar.text, "é/");
	assert_int_equal(yaml_get(p.root, "b")->mapping.count, 0);
}

static void test_an_empty_file_is_an_empty_mapping(void **state)
{
	PARSED(p, "# nothing\n");

	assert_int_equal(p.r, 0);
	assert_int_equal(p.root->kind, NODE_MAPPING);
}

static void test_what_is_not_yaml_is_refused_at_its_place(void **state)
{
	PARSED(open_list, "a: [1,\nb: 2\n");
	PARSED(tab, "a:\n\tb: 1\n");

	assert_int_equal(open_list.r, -EINVAL);
	assert_int_equal(open_list.report.error_count, 1);
	assert_true(open_list.report.messages[0].line >= 2);
	assert_refused(&tab, 2, 1, "not YAML");
}

static void test_bytes_that_are_no_text_are_refused_at_their_place(void **state)
{
	static const char zero[] = "a: 1\nb: 2\nc: \0\n";
	_cleanup_(parsed_release) struct parsed zeroed = parse_bytes(zero, sizeof(zero) - 1);
	PARSED(latin1, "a: é\nname: é\xe9\n");
	PARSED(control, "a: 1\n# \x01\n");
	PARSED(first, "\xff\n");

	assert_refused(&zeroed, 3, 4, "control characters");
	assert_refused(&latin1, 2, 8, "UTF-8");
	assert_refused(&control, 2, 3, "control characters");
	assert_refused(&first, 1, 1, "UTF-8");
}

static void test_a_key_given_twice_is_refused(void **state)
{
	PARSED(p, "a: 1\nb: 2\na: 3\n");
	PARSED(nested, "- {x: 1, y: 2, x: 3}");

	assert_refused(&p, 3, 1, "`a` is given twice");
	assert_refused(&nested, 1, 16, "`x` is given twice");
}

static void test_keys_must_be_texts(void **state)
{
	PARSED(list, "? [a]\n: 1\n");
	PARSED(zero, "\"a\\0b\": 1\n");

	assert_refused(&list, 1, 3, "a key must be a text");
	assert_refused(&zero, 1, 1, "zero byte");
}

static void test_an_alias_is_what_its_anchor_was(void **state)
{
	PARSED(p, "a: &x {k: v}\nb: *x\nc: &x 5\nd: *x\n");
	PARSED(unknown, "a: *x\n");

	assert_int_equal(p.r, 0);
	assert_ptr_equal(yaml_get(p.root, "a"), yaml_get(p.root, "b"));
	assert_string_equal(yaml_get(p.root, "d")->scalar.text, "5");
	assert_refused(&unknown, 1, 4, "no anchor");
}

static void test_a_node_can_not_hold_itself(void **state)
{
	PARSED(p, "a: &x [1, *x]\n");

	assert_refused(&p, 1, 11, "no anchor");
}

static void test_aliases_can_not_stand_for_a_huge_tree(void **state)
{
	PARSED(p, "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
		  "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
		  "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
		  "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
		  "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
		  "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
		  "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n"
		  "h: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]\n");

	assert_int_equal(p.r, -EINVAL);
	assert_non_null(strstr(p.report.messages[0].text, "too many values"));
}

static void test_nesting_is_bounded_with_and_without_aliases(void **state)
{
	char deep[512], chain[4096];
	size_t used = 0;

	memset(deep, '[', 98);
	memset(deep + 98, ']', 98);
	{
		_cleanup_(parsed_release) struct parsed p = parse_bytes(deep, 196);

		assert_int_equal(p.r, 0);
	}
	memset(deep, '[', 200);
	{
		_cleanup_(parsed_release) struct parsed p = parse_bytes(deep, 200);

		assert_int_equal(p.r, -EINVAL);
		assert_non_null(strstr(p.report.messages[0].text, "nested too deeply"));
	}
	used += (size_t)snprintf(chain, sizeof(chain), "a0: &a0 x\n");
	for (int i = 1; i < 120; i++)
		used += (size_t)snprintf(chain + used, sizeof(chain) - used, "a%d: &a%d [*a%d]\n", i, i, i - 1);
	{
		_cleanup_(parsed_release) struct parsed p = parse_bytes(chain, used);

		assert_int_equal(p.r, -EINVAL);
		assert_non_null(strstr(p.report.messages[0].text, "nested too deeply"));
	}
}

static void test_tags_and_further_documents_are_refused(void **state)
{
	PARSED(tag, "a: !ruby/object x\n");
	PARSED(text, "a: !!str 5\nb: !!int 5\n");
	PARSED(two, "a: 1\n---\nb: 1\n");

	assert_refused(&tag, 1, 4, "tag");
	assert_int_equal(text.r, 0);
	assert_false(yaml_get(text.root, "a")->is_plain);
	assert_true(yaml_get(text.root, "b")->is_plain);
	assert_refused(&two, 2, 1, "one document");
}

static void test_a_path_of_the_model_leads_to_its_node(void **state)
{
	PARSED(p, "resources:\n- filterChains:\n  - name: x\n    typed: {a.b/c: {d_e: 1}}\n");

	assert_int_equal(p.r, 0);
	assert_int_equal(yaml_find(p.root, "resources[0].filter_chains[0].name")->line, 3);
	assert_string_equal(yaml_find(p.root, "resources[0].filter_chains[0].typed[a.b/c].d_e")->scalar.text, "1");
	/* as far as it goes */
	assert_int_equal(yaml_find(p.root, "resources[0].filter_chains[0].missing.thing")->line, 3);
	assert_int_equal(yaml_find(p.root, "resources[7]")->line, 2);
	assert_ptr_equal(yaml_find(p.root, ""), p.root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes_know_their_places),
		cmocka_unit_test(test_json_is_yaml),
		cmocka_unit_test(test_an_empty_file_is_an_empty_mapping),
		cmocka_unit_test(test_what_is_not_yaml_is_refused_at_its_place),
		cmocka_unit_test(test_bytes_that_are_no_text_are_refused_at_their_place),
		cmocka_unit_test(test_a_key_given_twice_is_refused),
		cmocka_unit_test(test_keys_must_be_texts),
		cmocka_unit_test(test_an_alias_is_what_its_anchor_was),
		cmocka_unit_test(test_a_node_can_not_hold_itself),
		cmocka_unit_test(test_aliases_can_not_stand_for_a_huge_tree),
		cmocka_unit_test(test_nesting_is_bounded_with_and_without_aliases),
		cmocka_unit_test(test_tags_and_further_documents_are_refused),
		cmocka_unit_test(test_a_path_of_the_model_leads_to_its_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
