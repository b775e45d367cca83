theory STP_Audit
  imports Pure
begin

text \<open>
  What a submission proved, said by trusted ML. A theory Spec states the goals by \<open>sorry\<close> and notes the
  axioms that it knows; theories that import neither Spec nor this one hold the submissions, one or a pack of
  several each; the theory that imports them all calls report for each submission. A goal is proved if there is no finding. Whatever goes wrong
  leaves a job without its line, and a job without its line is not proved.
\<close>

ML \<open>
structure STP_Axioms = Theory_Data
(
  type T = unit Symtab.table Symtab.table;
  val empty = Symtab.empty;
  val merge = Symtab.merge (K true);
);

structure STP_Audit =
struct
  fun line nonce words = "STP " ^ nonce ^ " " ^ words;
  fun lines nonce words more = space_implode "\n" (line nonce words :: more);

  (*the axioms known where the goals are stated*)
  fun note spec thy =
    STP_Axioms.map (Symtab.update (spec, Symtab.make_set (map fst (Theory.all_axioms_of thy)))) thy;

  (*axioms that the submissions added, definitional ones too*)
  fun fresh thy spec =
    (case Symtab.lookup (STP_Axioms.get thy) spec of
      SOME known => filter_out (Symtab.defined known) (map fst (Theory.all_axioms_of thy))
    | NONE => error ("No axioms noted by " ^ spec));

  fun within theories name = exists (fn theory => String.isPrefix (theory ^ ".") name) theories;

  fun facts thy name = SOME (Global_Theory.get_thms thy name) handle ERROR _ => NONE;

  fun same _ ([], []) = true
    | same thy (th :: ths, goal :: goals) =
        Pattern.equiv thy (Thm.prop_of th, Thm.prop_of goal) andalso same thy (ths, goals)
    | same _ _ = false;

  fun oracles ths = map (#1 o #1) (Thm_Deps.all_oracles ths);

  fun judge thy added goals ths =
    (if same thy (ths, goals) then [] else ["statement differs"]) @
    (if forall (null o Thm.hyps_of) ths then [] else ["hypotheses"]) @
    (if forall (null o Thm.extra_shyps) ths then [] else ["sort hypotheses"]) @
    (if forall (null o Thm.tpairs_of) ths then [] else ["flex-flex pairs"]) @
    map (prefix "oracle ") (oracles ths) @
    map (prefix "axiom ") added;

  (*an axiom of no submission by name counts against all of them*)
  fun findings thy axioms submissions goal submission fact =
    let val added = filter (fn a => within [submission] a orelse not (within submissions a)) axioms in
      (case (facts thy goal, facts thy (submission ^ "." ^ fact)) of
        (NONE, _) => ["not stated"]
      | (_, NONE) => ["no such fact"]
      | (SOME goals, SOME ths) => judge thy added goals ths)
    end;

  (*in a pack: what other submissions of the theory proved is not for this one*)
  fun borrowed thy submission fact =
    let
      val ths = these (facts thy (submission ^ "." ^ fact));
      fun others (name, _) = within [submission] name andalso name <> submission ^ "." ^ fact;
    in map (prefix "fact " o #1) (filter others (map #2 (Thm_Deps.thm_deps thy ths))) end;

  fun verdict nonce thy axioms submissions (id, goal, submission, fact, packed) =
    (case findings thy axioms submissions goal submission fact @
        (if packed then borrowed thy submission fact else []) of
      [] => line nonce (id ^ " proved")
    | reasons => lines nonce (id ^ " refused") reasons);

  fun report nonce thy axioms submissions job = writeln (verdict nonce thy axioms submissions job);

  (*for a fresh build: its messages are not at hand, a file is*)
  fun record file nonce thy axioms submissions job =
    File.append (Path.explode file) (verdict nonce thy axioms submissions job ^ "\n\n");

  (*facts of other theories that a proof rests on, each with what it says; lemmas of the submission stand for
    what they rest on themselves*)
  fun used thy submission =
    let
      fun named (name, index) = if index = 0 then name else name ^ "(" ^ string_of_int index ^ ")";
      fun chosen (name, index) =
        (case facts thy name of
          SOME ths => if index = 0 then ths else [nth ths (index - 1)]
        | NONE => []);
      fun collect ths (seen, found) =
        fold (fn key => fn (seen, found) =>
          if Symtab.defined seen (named key) then (seen, found)
          else
            let val seen' = Symtab.update (named key, ()) seen in
              if within [submission] (#1 key) then collect (chosen key) (seen', found)
              else (seen', (named key, chosen key) :: found)
            end) (map #2 (Thm_Deps.thm_deps thy ths)) (seen, found);
    in fn ths => rev (#2 (collect ths (Symtab.empty, []))) end;

  fun stated thy th =
    let val prop = Thm.prop_of th
    in Syntax.string_of_term_global thy (Logic.unvarify_global prop handle TERM _ => prop) end;

  (*an entry's lines may be broken where it is printed: each begins with the nonce*)
  fun premises nonce thy (id, submission, fact) =
    let
      val ths = these (facts thy (submission ^ "." ^ fact));
      fun entry (name, by) = line nonce (space_implode " " (name :: map (stated thy) by));
    in writeln (lines nonce (id ^ " premises") (map entry (used thy submission ths))) end;

  (*which words are commands here*)
  fun commands nonce thy =
    writeln (lines nonce "commands" (Keyword.dest_commands (Thy_Header.get_keywords thy)));

  (*library theorems that rest on an oracle*)
  fun taint nonce thy names =
    let
      fun rests name =
        (case facts thy name of
          SOME ths => map (fn oracle => name ^ ": " ^ oracle) (oracles ths)
        | NONE => []);
    in writeln (lines nonce "taint" (maps rests names)) end;
end;
\<close>

end
