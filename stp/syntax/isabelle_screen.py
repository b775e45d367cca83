"""What a text for Isabelle may hold: lists of what is allowed, everything else is refused.

An Isabelle command can run ML, and ML can do anything to the prover and the machine, so nothing but commands
of proofs may ever reach it. A word outside quotes is a command if it stands in the table of commands: `KNOWN`
holds those of the distribution, and the worker asks the server for the table of the imports at hand.

Covered: commands, options and attributes by lists; methods that run ML; theory headers.
Not covered: what only the prover sees (axioms, oracles, what was proved): the audit's part, `isabelle/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from itertools import pairwise

from stp.errors import UsageError
from stp.syntax.isabelle import COMMANDS, HOLES, PROOF_COMMANDS
from stp.syntax.isabelle_tokens import Kind, Token, tokens
from stp.syntax.place import place
from stp.types import Verdict

#: Commands of a submission: proofs, and lemmas beside the theorem.
ALLOWED = PROOF_COMMANDS | COMMANDS | {"lemmas", "declare"}
#: Commands of a header, which is the side that states: definitions too.
ALLOWED_IN_HEADER = ALLOWED | frozenset(
    """abbreviation datatype definition fun function hide_const hide_fact inductive inductive_set
    no_notation notation primrec record termination type_synonym unbundle""".split()  # noqa: SIM905
)
#: Commands of the distribution that no text may use, in addition to the table of the server's own.
KNOWN = frozenset(
    """ML ML_command ML_export ML_file ML_file_debug ML_file_no_debug ML_prf ML_val SML_export SML_file
    SML_file_debug SML_file_no_debug SML_import abbreviation adhoc_overloading alias approximate
    attribute_setup axiomatization bibtex_file bnf boogie_file bundle case_of_simps chapter class class_deps
    code_datatype code_deps code_identifier code_lazy_type code_monad code_pred code_printing code_reflect
    code_reserved code_thms codatatype coinductive coinductive_set compile_generated_files consts context
    copy_bnf cpodef datatype datatype_compat declaration default_sort definition domain domain_isomorphism end
    experiment export_code export_generated_files external_file extract extract_type find_consts
    find_theorems find_unused_assms fixrec free_constructors full_prf fun fun_cases function generate_file
    global_interpretation help hide_class hide_const hide_fact hide_type import_file import_tptp inductive
    inductive_cases inductive_set inductive_simps instance instantiation interpretation judgment lift_bnf
    lift_definition lifting_forget lifting_update local_setup locale locale_deps method method_setup
    named_theorems nitpick nitpick_params no_adhoc_overloading no_notation no_syntax no_translations
    no_type_notation nonterminal notation notepad nunchaku nunchaku_params old_rep_datatype oops open_bundle
    oracle overloading paragraph parametric_constant parse_ast_translation parse_translation
    partial_function pcpodef prf primcorec primcorecursive primrec print_abbrevs print_antiquotations
    print_ast_translation print_attributes print_binds print_bundles print_cases print_classes
    print_codesetup print_commands print_context print_definitions print_defn_rules print_facts
    print_interps print_locale print_locales print_methods print_options print_rules print_simpset
    print_state print_statement print_syntax print_term_bindings print_theorems print_theory
    print_trans_rules print_translation prop quickcheck quickcheck_generator quickcheck_params
    quotient_definition quotient_type realizability realizers record refute refute_params schematic_goal
    scala_build_generated_files section setup setup_lifting simproc_setup simps_of_case sledgehammer
    sledgehammer_params smt_status solve_direct sorry spark_end spark_open spark_vc specification subclass
    sublocale subparagraph subsection subsubsection syntax syntax_consts syntax_declaration syntax_types term
    termination text text_raw theory thm thm_deps thm_oracles thy_deps translations try try0 txt typ
    type_alias type_notation type_synonym typed_print_translation typedecl typedef unbundle unused_thms value
    values values_prolog welcome write""".split()  # noqa: SIM905
)
#: Attributes of facts. None of them runs ML or sets an option.
ATTRIBUTES = frozenset(
    """OF THEN abs_def algebra_simps attach case_conclusion case_names cases coinduct consumes cong dest
    derivative_eq_intros derivative_intros elim elim_format field_simps folded induct intro iff intros
    mono no_vars of params rotated rule_format simp simplified split standard sym symmetric tendsto_intros
    to_pred to_set trans transferred unfolded untransferred where continuous_intros measurable
    divide_simps ac_simps safe arith case_product fundef_cong induct_simp no_atp split_format
    termination_simp""".split()  # noqa: SIM905
)
#: Options that a text may set, `[[NAME = …]]`.
OPTIONS = frozenset(
    """simproc linarith_split_limit linarith_neq_limit unify_search_bound unify_trace_bound
    blast_depth_limit smt_timeout metis_lambda_trans""".split()  # noqa: SIM905
)
#: The last two are those of HOL-ex, whose argument, or all of which, is a cartouche of ML.
_ML_METHODS = frozenset({"tactic", "raw_tactic", "ml_tactic", "cartouche"})
_METHOD_COMMANDS = frozenset({"by", "apply", "proof", "qed"})
_IMPORT = re.compile(r"[A-Za-z][A-Za-z0-9_'-]*(?:\.[A-Za-z][A-Za-z0-9_']*)?")

Finding = tuple[Verdict, str]


def screen(text: str, allowed: Set[str] = ALLOWED, commands: Set[str] = KNOWN) -> Finding | None:
    """Why the text may not be sent, as a denying verdict and its reason; None if it may.

    `commands` is the table of commands that the prover will know there; those of `KNOWN` always count.
    """
    try:
        stream = [*tokens(text)]
    except UsageError as error:
        return Verdict.REJECTED, str(error)
    if method := next((token for token in stream if _runs_ml(token)), None) or next(_bare(stream), None):
        return Verdict.CHEATED, f"method `{method.text}` runs ML, at {place(text, method.start)}"
    holes = [token for token in stream if token.text in HOLES]
    for token in stream:
        if token.text in allowed or token.kind not in (Kind.NAME, Kind.SYMBOL) or token.text in HOLES:
            continue
        if token.text in KNOWN or token.text in ALLOWED or token.text in commands:
            return Verdict.CHEATED, f"command `{token.text}` is not allowed, at {place(text, token.start)}"
        if token.text == "begin":
            return Verdict.CHEATED, f"`begin` is not allowed, at {place(text, token.start)}"
    for token, option in _attributes(stream):
        if token.text not in (OPTIONS if option else ATTRIBUTES | OPTIONS):
            what = "option" if option else "attribute"
            return Verdict.CHEATED, f"{what} `{token.text}` is not allowed, at {place(text, token.start)}"
    if holes:
        return Verdict.INCOMPLETE, f"`{holes[0].text}` at {place(text, holes[0].start)}"
    return None


def parse_header(header: str) -> tuple[tuple[str, ...], str]:
    """The theories that a header imports, `Main` if it names none, and the declarations behind them.

    Raises:
        UsageError: no such header, or one with a command that no header may use.
    """
    stream = [*tokens(header)]
    at = 2 if stream and stream[0].text == "theory" else 0
    imports: list[str] = []
    if at < len(stream) and stream[at].text == "imports":
        at += 1
        while at < len(stream) and (name := _imported(stream[at])) is not None:
            at += 1
            while at + 1 < len(stream) and stream[at].text == "-":  # a session's name outside quotes
                raise UsageError(f'expected {name}-… in quotes, as in imports "HOL-Library.Multiset"')
            imports.append(name)
        if not imports:
            raise UsageError("expected a theory after `imports`, found none")
    if at < len(stream) and stream[at].text == "begin":
        at += 1
    declarations = header[stream[at].start :] if at < len(stream) else ""
    if finding := screen(declarations, ALLOWED_IN_HEADER):
        raise UsageError(f"header: {finding[1]}")
    return tuple(imports) or ("Main",), declarations


def _runs_ml(token: Token) -> bool:
    """Methods may be named in quotes and with the theory that they come from."""
    name = token.inner.strip() if token.kind in (Kind.STRING, Kind.CARTOUCHE) else token.text
    return name.rpartition(".")[2] in _ML_METHODS


def _bare(stream: list[Token]) -> Iterator[Token]:
    """Cartouches in the place of a method: such a method may be declared to be ML."""
    methods: list[bool] = []  # of each bracket that is open, whether methods stand in it
    for before, token in pairwise([Token(Kind.SYMBOL, "", 0), *stream]):
        inside = bool(methods) and methods[-1] and before.text in ("(", ",", ";", "|")
        is_method = inside or before.text in _METHOD_COMMANDS
        if is_method and token.kind is Kind.CARTOUCHE:
            yield token
        if token.text in ("(", "[", "{"):
            methods.append(is_method and token.text == "(")
        elif token.text in (")", "]", "}") and methods:
            methods.pop()


def _imported(token: Token) -> str | None:
    if token.text == "begin":
        return None
    if token.text in ("keywords", "abbrevs"):
        raise UsageError(f"header: `{token.text}` is not allowed")
    name = token.inner if token.kind is Kind.STRING else token.text
    if token.kind in (Kind.STRING, Kind.NAME) and _IMPORT.fullmatch(name):
        return None if name in ALLOWED_IN_HEADER else name
    if token.kind is Kind.STRING:
        raise UsageError(f"header: expected a theory of a session to import, found {name!r}")
    return None


def _attributes(stream: list[Token]) -> Iterator[tuple[Token, bool]]:
    """Each name of an attribute, and whether it stands in `[[…]]`: the first one after `[` or after a comma
    in brackets. `[1]` after a method is none."""
    brackets: list[str] = []
    double: list[bool] = []
    for before, token in pairwise([Token(Kind.SYMBOL, "", 0), *stream]):
        if token.text in ("(", "[", "{"):
            brackets.append(token.text)
            double.append(token.text == "[" and before.text == "[")
            continue
        first = bool(brackets) and brackets[-1] == "[" and before.text in ("[", ",")
        if first and token.text not in ("]", ",") and token.kind is not Kind.NUMBER:
            yield token, double[-1]
        if token.text in (")", "]", "}") and brackets:
            brackets.pop()
            double.pop()
