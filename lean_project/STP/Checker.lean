/-
The persistent checker: reads one JSON request a line, writes one framed JSON reply a line.

The same file runs under native Lean and under the embedded one. The embedded library has public parts
only, so code here cannot mention library functions whose specialised bodies are private (`Array.map`,
`List.any`, `for … in`, …): hence the plain structural recursion. It runs no code of modules that are
not its own either: hence one file.

A verdict rests on four things, all computed here and none printed by Lean: the submission parses to
exactly one theorem without forbidden syntax; the constant that it adds has the type and universe levels
of the statement elaborated apart; the kernel accepts that constant and all it needs, of the header too, behind
what the header *imports*; its axioms are allowed. Messages are feedback for people.
-/
module

public import Lean.Elab.Frontend
public import Lean.Elab.BuiltinCommand
public import Lean.Data.Json
public import Lean.Util.FoldConsts
public import Lean.PrettyPrinter

open Lean

namespace STP

/-! ## Plain functions -/

/-- Is the name in the list? -/
def memName (n : Name) : List Name → Bool
  | [] => false
  | m :: rest => if m == n then true else memName n rest

/-- Is the string in the list? -/
def memString (s : String) : List String → Bool
  | [] => false
  | t :: rest => if t == s then true else memString s rest

/-- A list turned round, in front of another. -/
def reversed (acc : List α) : List α → List α
  | [] => acc
  | x :: rest => reversed (x :: acc) rest

/-- Both lists in one, the first turned round. -/
def together (xs ys : List α) : List α := reversed ys xs

/-- Does the character list begin with the other one? -/
def startsWithChars : List Char → List Char → Bool
  | _, [] => true
  | [], _ => false
  | a :: as, b :: bs => if a == b then startsWithChars as bs else false

/-- Does the text contain the part? -/
def hasPart (part : List Char) : List Char → Bool
  | [] => false
  | c :: cs => if startsWithChars (c :: cs) part then true else hasPart part cs

/-- A string and the first characters of a list, at most so many. Like everything here that runs along a
list of unknown length it calls itself last: interpreted frames are large, and the stack is not. -/
def pushChars (acc : String) : Nat → List Char → String
  | 0, _ => acc
  | _, [] => acc
  | n + 1, c :: cs => pushChars (acc.push c) n cs

/-- A text cut to a length that a reply can carry. -/
def clip (s : String) : String :=
  if s.utf8ByteSize ≤ 2000 then s else pushChars "" 2000 s.toList

/-- The JSON string of a name. -/
def nameJson (n : Name) : Json := .str (n.toString false)

/-- The JSON array of a list. -/
def listJson (f : α → Json) (xs : List α) : Json :=
  .arr (go xs #[])
where
  /-- Appends the values to the array. -/
  go : List α → Array Json → Array Json
    | [], acc => acc
    | x :: rest, acc => go rest (acc.push (f x))

/-! ## Requests -/

/-- A string field, or the default. -/
def strField (j : Json) (key : String) (default : String) : String :=
  match j.getObjVal? key with
  | .ok (.str s) => s
  | _ => default

/-- A natural number field, or the default. -/
def natField (j : Json) (key : String) (default : Nat) : Nat :=
  match j.getObjVal? key with
  | .ok v => match v.getNat? with
    | .ok n => n
    | .error _ => default
  | .error _ => default

/-- A truth value, false when absent. -/
def boolField (j : Json) (key : String) : Bool :=
  match j.getObjVal? key with
  | .ok (.bool b) => b
  | _ => false

/-! ## Parsing and elaborating one command -/

/-- What a parser needs of a text, which Lean reads with the ends of lines that it has here. -/
def inputOf (text : String) : Parser.InputContext :=
  let text := text.crlfToLf
  { inputString := text, fileName := "<input>", fileMap := FileMap.ofString text,
    endPos := text.rawEndPos, endPos_valid := by simp }

/-- The innermost scope of a state. -/
def scopeOf (state : Elab.Command.State) : Elab.Command.Scope :=
  match state.scopes with
  | scope :: _ => scope
  | [] => { header := "" }

/-- Parses the next command behind a position. -/
def parseNext (input : Parser.InputContext) (state : Elab.Command.State) (at_ : Parser.ModuleParserState)
    (log : MessageLog) : Syntax × Parser.ModuleParserState × MessageLog :=
  let scope := scopeOf state
  Parser.parseCommand input
    { env := state.env, options := scope.opts, currNamespace := scope.currNamespace,
      openDecls := scope.openDecls } at_ log

/-- Runs what elaborates a command in a state; the new state holds the command's messages only. -/
def runCommand (input : Parser.InputContext) (state : Elab.Command.State) (act : Elab.Command.CommandElabM Unit) :
    IO Elab.Command.State := do
  let context : Elab.Command.Context :=
    { fileName := input.fileName, fileMap := input.fileMap, snap? := none, cancelTk? := none }
  let ref ← IO.mkRef { state with messages := {}, scopes := atOnce state.scopes }
  let outcome ← (act context ref).toBaseIO
  match outcome with
  | .ok _ => ref.get
  | .error e => do
    let data ← e.toMessageData.toString
    let after ← ref.get
    let message : Message :=
      { fileName := input.fileName, pos := ⟨1, 0⟩, severity := .error, data := .ofFormat data }
    return { after with messages := after.messages.add message }
where
  /-- The same scopes, in which nothing is left to be elaborated when the command has ended. -/
  atOnce : List Elab.Command.Scope → List Elab.Command.Scope
    | [] => []
    | scope :: rest => { scope with opts := scope.opts.set `Elab.async false } :: rest

/-- A message of Lean's: lines from 1, columns in characters from 0, all 0 where it belongs to no place. -/
structure Said where
  /-- `error`, `warning` or `information`. -/
  severity : String := "error"
  /-- Where it begins. -/
  line : Nat := 0
  /-- See `line`. -/
  column : Nat := 0
  /-- Where it ends. -/
  endLine : Nat := 0
  /-- See `endLine`. -/
  endColumn : Nat := 0
  /-- What it says. -/
  text : String

/-- An error that belongs to no place. -/
def plain (text : String) : Said := { text }

/-- Messages as they are reported. -/
def saidIn : List Message → IO (List Said)
  | [] => return []
  | m :: rest => do
    let others ← saidIn rest
    let severity := match m.severity with
      | .information => "information"
      | .warning => "warning"
      | .error => "error"
    let text ← m.data.toString
    let stop := match m.endPos with
      | some stop => stop
      | none => m.pos
    return { severity, line := m.pos.line, column := m.pos.column, endLine := stop.line
             endColumn := stop.column, text := clip text } :: others

/-- The errors among messages. -/
def errorsAmong : List Said → List Said
  | [] => []
  | s :: rest => if s.severity == "error" then s :: errorsAmong rest else errorsAmong rest

/-- The messages that are errors. -/
def onlyErrors : List Message → List Message
  | [] => []
  | m :: rest => match m.severity with
    | .error => m :: onlyErrors rest
    | _ => onlyErrors rest

/-- The errors in a log; what else is in it is not written out. -/
def errorsOf (log : MessageLog) : IO (List Said) := saidIn (onlyErrors log.toList)

/-- A message as JSON. -/
def saidJson (s : Said) : Json :=
  .arr #[.str s.severity, .num s.line, .num s.column, .num s.endLine, .num s.endColumn, .str s.text]

/-! ## Syntax -/

/-- Kinds that run code of the submission's own while it is elaborated, change how things are declared, or only wait. -/
def forbiddenKinds : List String :=
  ["runTac", "byElab", "runElab", "runMeta", "nativeDecide", "unsafe", "elabStx", "declareSyntaxCat",
   "includeStr", "inheritDoc", "sleep"]

/-- What a text may be made of. -/
structure Rules where
  /-- Kinds of whole commands, where there may be several; every other one is refused. -/
  wholes : List Name := []
  /-- Kinds below `Lean.Parser.Command` in them; every other one is refused. -/
  commands : List String
  /-- Attributes; every other one is refused. -/
  attributes : List String
  /-- Options that may be set, with those below them; every other one is refused. -/
  options : List Name

/-- What a theorem and its proof are made of. -/
def theoremRules : Rules where
  commands :=
    ["declaration", "declModifiers", "theorem", "declId", "declSig", "declBody", "declValSimple",
     "declValEqns", "whereStructInst", "docComment",
     -- `open … in` changes how the proof is read, and its type is compared anyway.
     "openSimple", "openOnly", "openHiding", "openRenaming", "openRenamingItem", "openScoped"]
  attributes := []
  options := [`maxRecDepth]

/-- What a file of definitions and theorems is made of: no axioms, no notation, no code that runs; questions and options that
change what is shown, or a budget that is the job's all the same. -/
def fileRules : Rules where
  wholes :=
    [``Parser.Command.declaration, ``Parser.Command.namespace, ``Parser.Command.section, ``Parser.Command.end,
     ``Parser.Command.open, ``Parser.Command.variable, ``Parser.Command.universe, ``Parser.Command.mutual,
     ``Parser.Command.set_option, ``Parser.Command.in, ``Parser.Command.moduleDoc, ``Parser.Command.check,
     ``Parser.Command.printAxioms, ``Parser.Command.print, ``Parser.Command.attribute, ``Parser.Command.omit,
     ``Parser.Command.include, ``Parser.Command.deriving, `lemma]
  commands := together theoremRules.commands
    ["namespace", "section", "sectionHeader", "end", "open", "openDecl", "variable", "universe", "mutual",
     "set_option", "in", "moduleDoc", "definition", "abbrev", "instance", "example", "structure",
     "structureTk", "classTk", "structCtor", "structFields", "structExplicitBinder", "structImplicitBinder",
     "structInstBinder", "structSimpleBinder", "extends", "structParent", "inductive", "classInductive",
     "ctor", "optDeclSig", "whereStructField", "optDeriving", "derivingClasses", "derivingClass",
     "namedPrio", "private", "protected", "noncomputable", "nonrec", "check", "printAxioms", "print", "attribute",
     "eraseAttr", "omit", "include", "deriving"]
  attributes :=
    ["simp", "ext", "instance", "grind", "reducible", "irreducible", "inline", "refl", "symm", "norm_cast", "elab_as_elim",
     "deprecated", "match_pattern"]
  options := together theoremRules.options [`maxHeartbeats, `autoImplicit, `relaxedAutoImplicit, `pp, `linter]

/-- What headers and specs are made of: nothing that runs either, and so no notation, but axioms, which no proof may rest
on, and options of how things are read, found and shown. -/
def givenRules : Rules where
  wholes := ``Parser.Command.export :: fileRules.wholes
  commands := together fileRules.commands ["export", "axiom", "opaque"]
  attributes := fileRules.attributes
  options := together fileRules.options
    [`maxSynthPendingDepth, `warn, `warningAsError, `synthInstance, `tactic, `structureDiamondWarning, `backward, `exponentiation, `grind, `simprocs, `aesop, `push_cast]

/-- The last part of a name, and the name without it. -/
def splitLast : Name → Name × String
  | .str p s => (p, s)
  | n => (n, "")

/-- The name of the attribute that an `attrInstance` gives: `simp`, `reducible`. -/
def attributeName (stx : Syntax) : String :=
  let inner := stx.getArg 1
  let (_, last) := splitLast inner.getKind
  if last == "simple" then (inner.getArg 0).getId.toString false else last

/-- What a tactic's setting may be written with: Lean compiles and runs its value. -/
def settingKinds : List String :=
  ["null", "num", "str", "structInst", "structInstFields", "structInstField", "structInstLVal",
   "structInstFieldDef", "optEllipsis", "dotIdent", "paren", "hygienicLParen", "hygieneInfo", "term[_]",
   "term{}", "term_^_", "term_*_", "choice"]

mutual
/-- Is a tactic's setting free of code: a literal, a name, a structure or a list of them? And none asks for the
compiler instead of the kernel, or for what Lean remembers of other jobs' libraries. -/
partial def isSetting : Syntax → Bool
  | .node _ kind args =>
    let (_, last) := splitLast kind
    let applied := last == "app" && (match args.toList with
      | head :: _ => head.isOfKind ``Parser.Term.dotIdent -- `.pos [1]`
      | [] => false)
    (applied || memString last settingKinds) && areSettings args.toList
  | .ident _ _ name _ => !(memString (splitLast name).2 ["native", "suggestions"])
  | _ => true

/-- Are all of them? -/
partial def areSettings : List Syntax → Bool
  | [] => true
  | stx :: rest => isSetting stx && areSettings rest
end

/-- Is a name one of the others, or below one? -/
def isBelow (name : Name) : List Name → Bool
  | [] => false
  | n :: rest => n.isPrefixOf name || isBelow name rest

/-- Is the number behind an option's name less than the depth of recursion that Lean has anyway? `exact?` builds its tree once in
a process, and leaves out what needs more than the depth that it happens to have then. -/
def isShallow : List Syntax → Bool
  | part :: rest => match part.isNatLit? with
    | some depth => depth < defaultMaxRecDepth
    | none => isShallow rest
  | [] => true

/-- May the option of that name be set to what stands behind it? -/
def maySet (rules : Rules) (name : Name) (behind : List Syntax) : Bool :=
  isBelow name rules.options && !(name == `maxRecDepth && isShallow behind)

mutual
/-- The first forbidden thing in a syntax tree. -/
partial def forbiddenIn (rules : Rules) (stx : Syntax) : Option String :=
  match stx with
  | .node _ kind args =>
    let (parent, last) := splitLast kind
    if memString last forbiddenKinds then some (kind.toString false)
    else if parent == `Lean.Parser.Command && !(memString last rules.commands) then
      some (kind.toString false)
    else if last == "attrInstance" && !(memString (attributeName stx) rules.attributes) then
      some ("attribute " ++ attributeName stx)
    else if last == "eraseAttr" && !(memString ((stx.getArg 1).getId.toString false) rules.attributes) then
      some (kind.toString false)
    else if memString last ["config", "valConfigItem", "posConfigItem"] && !(areSettings args.toList) then
      some (kind.toString false)
    else if last == "set_option" || last == "setOption" then -- the latter is `grind`'s own
      match args.toList with
      | _ :: .ident _ _ name _ :: rest =>
        if maySet rules name rest then forbiddenInList rules rest else some ("set_option " ++ name.toString false)
      | _ => some (kind.toString false)
    else forbiddenInList rules args.toList
  | _ => none

/-- The first forbidden thing in a list of syntax trees. -/
partial def forbiddenInList (rules : Rules) : List Syntax → Option String
  | [] => none
  | stx :: rest => match forbiddenIn rules stx with
    | some kind => some kind
    | none => forbiddenInList rules rest
end

mutual
/-- Has the tree any token? -/
partial def hasToken : Syntax → Bool
  | .node _ _ args => anyToken args.toList
  | .missing => false
  | _ => true

/-- Has any of the trees a token? -/
partial def anyToken : List Syntax → Bool
  | [] => false
  | stx :: rest => if hasToken stx then true else anyToken rest
end

/-- The commands that a command holds: those of `mutual`, and both of `in`. -/
def innerCommands (stx : Syntax) : List Syntax :=
  if stx.isOfKind ``Parser.Command.in then [stx.getArg 0, stx.getArg 2]
  else if stx.isOfKind ``Parser.Command.mutual then (stx.getArg 1).getArgs.toList
  else []

/-- What may stand in front of `in`: it declares nothing. -/
def leading : List Name :=
  [``Parser.Command.open, ``Parser.Command.variable, ``Parser.Command.universe, ``Parser.Command.set_option,
   ``Parser.Command.attribute, ``Parser.Command.omit, ``Parser.Command.include]

mutual
/-- A command's kind, or that of one in it, that is not allowed: `#print axioms` stands alone, and is answered by us. -/
partial def forbiddenCommand (rules : Rules) (stx : Syntax) (inside : Bool := false) : Option Name :=
  if stx.isOfKind ``Parser.Command.in && !(memName (stx.getArg 0).getKind leading) then some (stx.getArg 0).getKind
  else if memName stx.getKind rules.wholes && !(inside && stx.isOfKind ``Parser.Command.printAxioms)
  then firstForbidden rules (innerCommands stx) else some stx.getKind

/-- The first of some commands. -/
partial def firstForbidden (rules : Rules) : List Syntax → Option Name
  | [] => none
  | stx :: rest => match forbiddenCommand rules stx (inside := true) with
    | some kind => some kind
    | none => firstForbidden rules rest
end

/-- The rule that a command breaks. -/
def forbidden (rules : Rules) (stx : Syntax) : Option String :=
  match forbiddenCommand rules stx with
  | some kind => some s!"forbidden command {kind.toString false}"
  | none => match forbiddenIn rules stx with
    | some kind => some s!"forbidden syntax {kind}"
    | none => none

/-- The rule that a header's or a spec's command breaks; where its code may run there is none. -/
def refusedIn (code : Bool) (stx : Syntax) : Option String :=
  if code then none else match forbidden givenRules stx with
    | some rule => some (rule ++ ": a header or spec that is not trusted declares and opens, and runs nothing")
    | none => none

/-- The name that a plain `theorem` command declares: no modifiers, no universe list tricks, or none. -/
def theoremName (stx : Syntax) : Option Name :=
  if !(stx.isOfKind ``Parser.Command.declaration) then none
  else if hasToken (stx.getArg 0) then none
  else if !((stx.getArg 1).isOfKind ``Parser.Command.theorem) then none
  else match ((stx.getArg 1).getArg 1).getArg 0 with
    | .ident _ _ name _ => some name
    | _ => none

/-- A command alone in its text, or what is wrong with it. -/
inductive Single where
  /-- One theorem of the given name. -/
  | theorem (stx : Syntax) (name : Name)
  /-- The text does not parse. -/
  | unparsed (message : Said)
  /-- It parses, to something that is refused. -/
  | refused (rule : String)

/-- Parses a text that must hold one theorem and nothing else. Nothing is run. -/
def parseSingle (input : Parser.InputContext) (state : Elab.Command.State) : IO Single := do
  let (stx, next, log) := parseNext input state {} {}
  let errors ← errorsOf log
  match errors with
  | e :: _ => return .unparsed e
  | [] =>
    let (after, _, behind) := parseNext input state next {}
    if !(after.isOfKind ``Parser.Command.eoi) then
      return .refused "a second command behind the theorem"
    match theoremName stx with
    | none => return .refused "not a plain theorem"
    | some name => match forbiddenIn theoremRules stx with
      | some kind => return .refused s!"forbidden syntax {kind}"
      | none => do
        -- What begins no command is skipped up to the end, with an error.
        match ← errorsOf behind with
        | e :: _ => return .unparsed e
        | [] => return .theorem stx name

/-! ## Code

Lean runs some of what it elaborates: the value of a tactic's setting, a tactic that `autoParam` names, the argument of
`Lean.reduceBool`. What was never compiled cannot run. So nothing that is checked is compiled, be it a submission, a
statement, a spec or a header, but settings and tactics that are plain data. A process that is told to trust
compiles headers and specs too, but nothing that a submission may have changed. -/

/-- Functions of the library that numbers, names and quoted syntax are written with. -/
def plainFunctions : List Name :=
  [`OfNat.ofNat, `instOfNatNat, `HPow.hPow, `instHPow, `instPowNat, `instNatPowNat, `Monoid.Pow, `HMul.hMul, `instHMul, `instMulNat,
   `Lean.mkAtom, `Array.empty, `Array.mkEmpty, `Array.emptyWithCapacity, `Array.push, `List.toArray, `String.toRawSubstring,
   `String.toRawSubstring', `Lean.Name.mkSimple, `Lean.Name.mkStr, `Lean.Name.mkNum, `Lean.Name.mkStr1, `Lean.Name.mkStr2,
   `Lean.Name.mkStr3, `Lean.Name.mkStr4, `Lean.Name.mkStr5, `Lean.Name.mkStr6, `Lean.Name.mkStr7, `Lean.Name.mkStr8]

/-- Is an expression data of the given environment: literals, types, constructors, the few functions that such are written with,
constants that are values of an inductive type, and their fields? Nothing in it can call anything: where it is made of
functions too, none is applied, for what those few call is an instance, and no instance is made here. -/
partial def isPlain (base : Environment) (e : Expr) : Bool := go [] e
where
  /-- The same of what is applied to some arguments. -/
  go (args : List Expr) : Expr → Bool
    | .app f a => isPlain base a && go (a :: args) f
    | .const n _ => (match base.find? n with
      | some info => !info.isUnsafe && (memName n plainFunctions || isData info || isField args info)
      | none => false)
    | .mdata _ e => go args e
    | e => match args, e with
      | [], .letE _ t v b _ => isPlain base t && isPlain base v && isPlain base b
      | [], .proj _ _ e => isPlain base e
      | [], .bvar _ => true
      | [], .lit _ => true
      | [], .sort _ => true
      | _, _ => false
  /-- Is it no function but a constructor, of nothing that is looked up as an instance? -/
  isData : ConstantInfo → Bool
    | .ctorInfo info => !(isClass base info.induct)
    | .inductInfo _ => true
    | info => match info.type with
      | .const type _ => (match base.find? type with
        | some (.inductInfo _) => true
        | _ => false)
      | _ => false
  /-- Is it a field of a structure that is no class, and not applied? -/
  isField (args : List Expr) : ConstantInfo → Bool
    | .defnInfo info => takesField args info.value
    | _ => false
  /-- Does the function take a field of its last argument, and are those all its arguments? -/
  takesField : List Expr → Expr → Bool
    | _ :: rest, .lam _ _ b _ => takesField rest b
    | [], .proj type _ (.bvar 0) => !(isClass base type)
    | _, _ => false

/-- Is it a tactic's setting that Lean is about to evaluate? By the name that Lean gives such a term, at the root and ended by a
number, as that of nothing in a text is. -/
def namesSetting (name : Name) : Bool := name.eraseMacroScopes == `_tmp && (name matches .num _ _)

/-- Does a part of the name begin as Lean's names for the tactics of `autoParam` do? -/
def likeTactic : Name → Bool
  | .str p s => startsWithChars s.toList "_auto".toList || likeTactic p
  | .num p _ => likeTactic p
  | .anonymous => false

/-- Is there an identifier in the tree whose name passes a test? -/
partial def mentionsName (test : Name → Bool) : Syntax → Bool
  | .node _ _ args => anyOf args.toList
  | .ident _ _ name _ => test name
  | _ => false
where
  /-- The same of a list of trees. -/
  anyOf : List Syntax → Bool
    | [] => false
    | stx :: rest => mentionsName test stx || anyOf rest

/-- Is it the syntax of a tactic that stands in the command, behind a parameter or field? Such data are made by Lean alone:
no name in the command is like theirs. -/
def isTactic (stx : Syntax) (name : Name) (info : ConstantInfo) : Bool :=
  startsWithChars (splitLast name).2.toList "_auto".toList && info.type.isConstOf `Lean.Syntax && !(mentionsName likeTactic stx)

/-- May the definitions of a command be compiled whose code may not run? Plain settings may, and plain tactics: they are data. -/
def mayCompile (base env : Environment) (stx : Syntax) : List Name → Bool
  | [] => true
  | name :: rest => (match env.find? name with
    | some info => info.hasValue && (namesSetting name || isTactic stx name info) && isPlain base info.value!
    | none => false) && mayCompile base env stx rest

/-- Names added to a set. -/
def joinAll (set : NameSet) : List Name → NameSet
  | [] => set
  | name :: rest => joinAll (set.insert name) rest

/-- Runs a command. Where its code may not run, nothing of it is compiled but plain settings and plain tactics. What a command
that runs nothing declares is left without code where it cannot be compiled: the embedded library lacks some functions'.
`base` is what is imported; `act` is what elaborates the command. -/
def runGuarded (base : Environment) (code : Bool) (input : Parser.InputContext)
    (state : Elab.Command.State) (stx : Syntax)
    (act : Elab.Command.CommandElabM Unit := fun context ref => Elab.Command.elabCommandTopLevel stx context ref) :
    IO Elab.Command.State := do
  let compile ← compileDeclsRef.get
  compileDeclsRef.set fun names => do
    let env ← getEnv
    if code && (forbidden givenRules stx) matches none then
      try compile names
      catch _ => setEnv env
    else if code || mayCompile base env stx names.toList then compile names
  let after ← runCommand input state act -- which catches what the command throws
  compileDeclsRef.set compile
  return after

/-- The same with what Lean says. -/
def runSaid (base : Environment) (code : Bool) (input : Parser.InputContext)
    (state : Elab.Command.State) (stx : Syntax) : IO (Elab.Command.State × List Said) := do
  let after ← runGuarded base code input state stx
  return (after, ← saidIn after.messages.toList)

/-! ## What a command has done -/

/-- The trees in an array. -/
def nodesOf (acc : Array Syntax) : List Syntax → Array Syntax
  | [] => acc
  | stx :: rest => nodesOf (acc.push stx) rest

/-- What a command declared, in its environment. -/
structure Found where
  /-- The environment behind it. -/
  env : Environment
  /-- What was not there before it. -/
  names : List Name

mutual
/-- Is there a node in the tree whose kind and parts pass a test? -/
partial def holds (test : Name → List Syntax → Bool) : Syntax → Bool
  | .node _ kind args => test kind args.toList || anyHolds test args.toList
  | _ => false

/-- The same of a list of trees. -/
partial def anyHolds (test : Name → List Syntax → Bool) : List Syntax → Bool
  | [] => false
  | stx :: rest => holds test stx || anyHolds test rest
end

/-- Is an `example` in the tree? -/
def holdsExample : Syntax → Bool := holds fun kind _ => kind == ``Parser.Command.example

mutual
/-- The command with each `example` as a definition: what it leaves can be looked at. -/
partial def named : Syntax → Syntax
  | .node info kind args => match allNamed args.toList with
    | [word, signature, value] =>
      if kind == ``Parser.Command.example then
        .node info ``Parser.Command.definition (nodesOf #[] [word, nameAt word, signature, value, mkNullNode])
      else .node info kind (nodesOf #[] [word, signature, value])
    | parts => .node info kind (nodesOf #[] parts)
  | stx => stx
where
  /-- The name that Lean gives it: what it says may be made of that. -/
  nameAt (word : Syntax) : Syntax :=
    .node .none ``Parser.Command.declId (nodesOf #[] [mkIdentFrom word `_example, mkNullNode])

/-- The same of a list. -/
partial def allNamed : List Syntax → List Syntax
  | [] => []
  | stx :: rest => named stx :: allNamed rest
end

/-- Something that a command declares by its text. -/
structure Claim where
  /-- The name, as it is written. -/
  name : Name
  /-- Where that stands, in bytes. -/
  at_ : Nat
  /-- What follows upon the constant's name; else it is the constant itself. -/
  part : Name := .anonymous

mutual
/-- The first identifier in a tree. -/
partial def firstName : Syntax → Option Syntax
  | .node _ _ args => firstNameIn args.toList
  | .ident info raw name meant => some (.ident info raw name meant)
  | _ => none

/-- The first one in a list of trees. -/
partial def firstNameIn : List Syntax → Option Syntax
  | [] => none
  | stx :: rest => match firstName stx with
    | some name => some name
    | none => firstNameIn rest
end

/-- What a node with some parts declares by itself, if anything. -/
def claimAmong (kind : Name) (parts : List Syntax) : Option Claim :=
  if kind == nullKind then none
  else match parts with
    | _ :: word :: declaration :: name :: _ =>
      if kind == ``Parser.Term.letRecDecl then of (firstName declaration)
      else if kind == ``Parser.Command.instance && !(hasToken name) then of (some word)
      else of (nameAmong parts)
    | _ => of (nameAmong parts)
where
  /-- The claim of a name, or of the word that stands for one. -/
  of : Option Syntax → Option Claim
    | some name =>
      some { name := if name.isIdent then name.getId else `instance, at_ := (name.getPos?.getD 0).byteIdx }
    | none => none
  /-- The name among the parts of a declaration, if it has one. -/
  nameAmong : List Syntax → Option Syntax
    | [] => none
    | part :: rest =>
      let id := if part.isOfKind nullKind then part.getArg 0 else part
      if id.isOfKind ``Parser.Command.declId then some (id.getArg 0) else nameAmong rest

/-- The defaults of a structure's fields, by the parts of what declares the fields: Lean makes a constant of each. -/
def defaultsAmong (owner : Claim) (acc : List Claim) (parts : List Syntax) : List Claim :=
  if hasDefault parts then namesAmong acc parts else acc
where
  /-- Is there a default? -/
  hasDefault : List Syntax → Bool
    | [] => false
    | part :: rest => (part.getArg 0).isOfKind ``Parser.Term.binderDefault || hasDefault rest
  /-- The fields, each with its default. -/
  namesAmong (acc : List Claim) : List Syntax → List Claim
    | [] => acc
    | part :: rest =>
      let names := if part.isOfKind nullKind then part.getArgs.toList else [part]
      namesAmong (fields acc names) rest
  /-- Those of some trees that are names. -/
  fields (acc : List Claim) : List Syntax → List Claim
    | [] => acc
    | stx :: rest =>
      fields (if stx.isIdent then { owner with part := stx.getId ++ `_default } :: acc else acc) rest

/-- Is a node a quotation? -/
def isQuotation (kind : Name) : Bool := memString (splitLast kind).2 ["quot", "quotSeq", "dynamicQuot"]

mutual
/-- What a command declares, of an owner if that has a name: what has a name, instances without, the helpers of `where` and
`let rec`, the defaults of fields. An `example` leaves nothing; what is quoted is not declared. -/
partial def claims (owner : Option Claim) (acc : List Claim) : Syntax → List Claim
  | .node _ kind args =>
    if kind == ``Parser.Command.example || isQuotation kind then acc
    else match claimAmong kind args.toList, owner with
    | some claim, _ => claimsIn (some claim) (claim :: acc) args.toList
    | none, some claim =>
      let isField := memName kind [``Parser.Command.structSimpleBinder, ``Parser.Command.structExplicitBinder]
      claimsIn owner (if isField then defaultsAmong claim acc args.toList else acc) args.toList
    | none, none => claimsIn owner acc args.toList
  | _ => acc

/-- The same of a list. -/
partial def claimsIn (owner : Option Claim) (acc : List Claim) : List Syntax → List Claim
  | [] => acc
  | stx :: rest => claimsIn owner (claims owner acc stx) rest
end

mutual
/-- The names of what an environment declares, but for what only compiled code rests on. -/
partial def declaredInNode (acc : List Name) : PersistentHashMap.Node Name ConstantInfo → List Name
  | .entries entries => declaredInEntries acc entries.toList
  | .collision _ infos _ => safeAmong acc infos.toList

/-- The same of a node's entries. -/
partial def declaredInEntries (acc : List Name) :
    List (PersistentHashMap.Entry Name ConstantInfo (PersistentHashMap.Node Name ConstantInfo)) → List Name
  | [] => acc
  | .entry _ info :: rest => declaredInEntries (safeAmong acc [info]) rest
  | .ref node :: rest => declaredInEntries (declaredInNode acc node) rest
  | .null :: rest => declaredInEntries acc rest

/-- The names of constants that are neither unsafe nor partial. -/
partial def safeAmong (acc : List Name) : List ConstantInfo → List Name
  | [] => acc
  | info :: rest => safeAmong (if info.isUnsafe || info.isPartial then acc else info.name :: acc) rest
end

/-- What is new behind a command. -/
def declaredBy (before after : Environment) : Found :=
  { env := after, names := newAmong [] (declaredInNode [] after.constants.map₂.root) }
where
  /-- Those of the names that were not there. -/
  newAmong (acc : List Name) : List Name → List Name
    | [] => acc
    | name :: rest => newAmong (if (before.find? name).isSome then acc else name :: acc) rest

mutual
/-- Does a node of an information tree pass a test, with what metavariables stand for? -/
partial def shows (test : MetavarContext → Elab.Info → Bool) (known : MetavarContext) : Elab.InfoTree → Bool
  | .context (.commandCtx inner) tree => shows test inner.mctx tree
  | .context _ tree => shows test known tree
  | .node info below => test known info || treesShow test known below.tail.toList || nodeShows test known below.root
  | .hole _ => false

/-- Does one in a part of an array of trees? -/
partial def nodeShows (test : MetavarContext → Elab.Info → Bool) (known : MetavarContext) :
    PersistentArrayNode Elab.InfoTree → Bool
  | .node parts => nodesShow test known parts.toList
  | .leaf trees => treesShow test known trees.toList

/-- Does one in several parts? -/
partial def nodesShow (test : MetavarContext → Elab.Info → Bool) (known : MetavarContext) :
    List (PersistentArrayNode Elab.InfoTree) → Bool
  | [] => false
  | part :: rest => nodeShows test known part || nodesShow test known rest

/-- Does one in several trees? -/
partial def treesShow (test : MetavarContext → Elab.Info → Bool) (known : MetavarContext) : List Elab.InfoTree → Bool
  | [] => false
  | tree :: rest => shows test known tree || treesShow test known rest
end

/-- Does a node of the information trees that a command left pass a test? -/
def leaves (after : Elab.Command.State) (test : MetavarContext → Elab.Info → Bool) : Bool :=
  let trees := after.infoState.trees
  treesShow test {} trees.tail.toList || nodeShows test {} trees.root

/-- The first claim that a command has not made true. Lean notes at a name's place which constant it stands for, once that is
there: what is there by another's doing (`t_iff`, by an attribute of `t`) does not count. -/
def undeclared (before : Environment) (after : Elab.Command.State) : List Claim → Option Claim
  | [] => none
  | claim :: rest => if leaves after (isIt claim) then undeclared before after rest else some claim
where
  /-- Does a node say that the claim is true? -/
  isIt (claim : Claim) (_ : MetavarContext) (info : Elab.Info) : Bool :=
    match info with
    | .ofTermInfo info => info.isBinder && (info.stx.getPos?.getD 0).byteIdx == claim.at_ && (match info.expr with
      | .const name _ => isNew (name ++ claim.part) || isNew (mkPrivateName after.env (name ++ claim.part))
      | _ => false)
    | _ => false
  /-- Is there a constant that was not there? -/
  isNew (n : Name) : Bool := (after.env.find? n).isSome && (before.find? n).isNone

/-- Is a node a term, or a variable of a type, in which something stands for what did not elaborate? -/
def isBroken (known : MetavarContext) : Elab.Info → Bool
  | .ofTermInfo info => holdsSorry info.expr || (match info.expr with
    | .fvar id => match info.lctx.find? id with
      | some declaration => holdsSorry declaration.type
      | none => false
    | _ => false)
  | _ => false
where
  /-- Does it stand in a term? -/
  holdsSorry (term : Expr) : Bool := (instantiateExprMVarsImp known term).2.hasSyntheticSorry

/-- Is a node a class behind `deriving`? -/
def isDerived (kind : Name) (_ : List Syntax) : Bool := (splitLast kind).2 == "derivingClass"

/-- Does a command derive an instance of a class, or for a type, that is not given by its name alone? -/
def derivesTerm : Syntax → Bool :=
  holds fun kind parts => (isDerived kind parts && !(lastOf parts).isIdent) ||
    (kind == ``Parser.Command.deriving && !(areNames (lastOf parts).getArgs.toList))
where
  /-- The last of some trees. -/
  lastOf : List Syntax → Syntax
    | [] => .missing
    | [stx] => stx
    | _ :: rest => lastOf rest
  /-- Are some trees names, and what stands between them? -/
  areNames : List Syntax → Bool
    | [] => true
    | stx :: rest => (stx.isIdent || stx.isAtom) && areNames rest

/-- Does a quotation hold a `let rec`? What stands behind `$` in it is no part of what is quoted. -/
def quotesLetRec : Syntax → Bool :=
  holds fun kind parts => isQuotation kind && anyHolds (fun inner _ => inner == ``Parser.Term.letRecDecl) parts

/-- Are all of some variables types, and said to be in so many words? That elaborates alike whatever was declared. -/
def areTypes : List (TSyntax ``Parser.Term.bracketedBinder) → Bool
  | [] => true
  | binder :: rest =>
    memName binder.raw.getKind [``Parser.Term.explicitBinder, ``Parser.Term.implicitBinder] &&
      memName ((binder.raw.getArg 2).getArg 1).getKind sorts && !(hasToken (binder.raw.getArg 3) && hasToken (binder.raw.getArg 4))
      && areTypes rest
where
  /-- `Type`, `Prop` and `Sort`, and Mathlib's `Type*`. -/
  sorts : List Name := [``Parser.Term.type, ``Parser.Term.prop, ``Parser.Term.sort, `«termType*»]

/-- Is a part of the name Lean's word for the default of a field? -/
def likeDefault : Name → Bool
  | .str rest s => s == "_default" || likeDefault rest
  | .num rest _ => likeDefault rest
  | .anonymous => false

/-- What a command that ran without errors has not done, though its text says so. An error that mentions what did not
elaborate Lean does not say, for there should be one that is about that; there need not be (in a pattern, among the meanings
of a name, in variables that are elaborated again), and then declarations, defaults and variables are dropped without a word. -/
partial def undone (base : Environment) (input : Parser.InputContext) (before after : Elab.Command.State) (stx : Syntax) :
    IO (Option Said) := do
  if derivesTerm stx then return some (plain "nothing but names of classes and types is taken behind `deriving`")
  if mentionsName likeDefault stx then return some (plain "`_default` is Lean's name for the default of a field")
  if holds (fun kind parts => kind == ``Parser.Command.mutual && anyHolds isScope parts) stx then
    return some (plain "`omit`, `variable`, `local` and `scoped` are not taken in `mutual`")
  if holds isLocal stx && holds isDeep stx then
    return some (plain "`local` is not taken with names of three parts: Lean ends it with the declaration")
  if quotesLetRec stx then return some (plain "`let rec` is not taken in a quotation")
  match ← unscoped before (some after) stx with
  | some reason => return some (plain reason)
  | none =>
    match undeclared before.env after (claims none [] stx) with
    | some claim =>
      let at_ := input.fileMap.toPosition ⟨claim.at_⟩
      let text := s!"Lean declares nothing for {(claim.name ++ claim.part).toString false}, and does not say why"
      return some { line := at_.line, column := at_.column, endLine := at_.line, endColumn := at_.column, text }
    | none =>
      if leaves after isBroken then return some (plain "something does not elaborate, and Lean does not say what")
      return none
where
  /-- Commands that change nothing but the scope that they stand in. -/
  scoping : List Name :=
    [``Parser.Command.open, ``Parser.Command.variable, ``Parser.Command.universe, ``Parser.Command.set_option,
     ``Parser.Command.omit, ``Parser.Command.include, ``Parser.Command.namespace, ``Parser.Command.section, ``Parser.Command.end]
  /-- Is a node an attribute to be taken away, as long as the scope lasts? -/
  isErased (kind : Name) (_ : List Syntax) : Bool := kind == ``Parser.Command.eraseAttr
  /-- Is a node one whose effect is looked at, or ends with a scope? Lean may give `mutual` one of its own. -/
  isScope (kind : Name) (_ : List Syntax) : Bool :=
    memName kind [``Parser.Command.omit, ``Parser.Command.variable, ``Parser.Term.local, ``Parser.Term.scoped]
  /-- Is a node `local`? -/
  isLocal (kind : Name) (_ : List Syntax) : Bool := kind == ``Parser.Term.local
  /-- Is a node the name of a declaration that opens several namespaces of its own? -/
  isDeep (kind : Name) (parts : List Syntax) : Bool :=
    kind == ``Parser.Command.declId && (match parts with
      | id :: _ => id.getId.getRoot != `_root_ && id.getId.getPrefix.getPrefix != .anonymous
      | [] => false)
  /-- Do the variables in force elaborate? Where they do not, Lean may say nothing, and `deriving` does nothing. The elaborator
  of `#check Type` throws then; what is thrown becomes an error where no command hides it. -/
  areFine (state : Elab.Command.State) : IO Bool := do
    if (scopeOf state).varDecls.size == 0 then return true
    let type := .node .none ``Parser.Term.type (nodesOf #[] [.atom .none "Type", mkNullNode])
    let check := .node .none ``Parser.Command.check (nodesOf #[] [.atom .none "#check", type])
    let after ← runGuarded base false input state check fun context ref => Elab.Command.elabCheck check context ref
    return errorsAmong (← saidIn after.messages.toList) matches []
  /-- What a command, and what stands before `in` in it, has not done to its scope. -/
  unscoped (before : Elab.Command.State) (after : Option Elab.Command.State) (stx : Syntax) : IO (Option String) := do
    if !(← areFine before) then return some "the variables do not elaborate here, and Lean does not say why"
    if !(areTypes (scopeOf before).varDecls.toList) && holds isDerived stx then
      return some "`deriving` under variables that are no types: its first instances may break them for the next ones"
    if stx.isOfKind ``Parser.Command.in then
      let first := stx.getArg 0
      let behind ← runGuarded base false input before first
      match ← unscoped before (some behind) first with
      | some reason => return some reason
      | none => unscoped behind none (stx.getArg 2)
    else match after with
    | none =>
      if !(memName stx.getKind scoping || holds isErased stx) then return none
      return some "what stands last behind `in` here has no effect: write it on its own"
    | some after =>
      if stx.isOfKind ``Parser.Command.omit && !(← allOmitted before stx (stx.getArg 1).getArgs.toList) then
        return some "Lean omits not all that it should, and does not say why"
      if stx.isOfKind ``Parser.Command.variable && anyTyped (stx.getArg 1).getArgs.toList then
        if !(isLonger (scopeOf after).varUIds.toList (scopeOf before).varUIds.toList) then
          return some "Lean drops variables, and does not say why"
      return none
  /-- Is one of some binders more than a name in other brackets? -/
  anyTyped : List Syntax → Bool
    | [] => false
    | binder :: rest =>
      let typed := if binder.isOfKind ``Parser.Term.instBinder then hasToken (binder.getArg 1) || !(binder.getArg 2).isIdent
        else hasToken (binder.getArg 2) || (binder.isOfKind ``Parser.Term.explicitBinder && hasToken (binder.getArg 3))
      typed || anyTyped rest
  /-- Has each thing to omit an effect of its own? -/
  allOmitted (before : Elab.Command.State) (command : Syntax) : List Syntax → IO Bool
    | [] => return true
    | one :: rest => do
      let after ← runGuarded base false input before (command.setArg 1 (mkNullNode #[one]))
      if isLonger (scopeOf after).omittedVars (scopeOf before).omittedVars then allOmitted before command rest else return false
  /-- Is the first list longer? -/
  isLonger : List Name → List Name → Bool
    | _ :: rest, _ :: others => isLonger rest others
    | [], _ => false
    | _ :: _, [] => true

/-- Runs a command and looks at what it has done; what Lean says, or that something is not done. -/
def runLooked (base : Environment) (input : Parser.InputContext) (code : Bool)
    (before : Elab.Command.State) (stx : Syntax) : IO (Elab.Command.State × List Said) := do
  let before := { before with infoState := { enabled := true } }
  let (after, said) ← runSaid base code input before stx
  match errorsAmong said with
  | [] => match ← undone base input before after stx with
    | some error => return (after, error :: said)
    | none => return (after, said)
  | _ => return (after, said)

/-- The same, and what the command's examples declare: each is declared once more, under a name, of which nothing is kept. -/
def runReported (base : Environment) (input : Parser.InputContext)
    (before : Elab.Command.State) (stx : Syntax) : IO (Elab.Command.State × List Said × List Found) := do
  let (after, said) ← runLooked base input false before stx
  if !(holdsExample stx) || !(errorsAmong said matches []) then return (after, said, [])
  let (there, more) ← runLooked base input false before (named stx)
  return (after, together (errorsAmong more) said, [declaredBy before.env there.env])

/-! ## Headers -/

/-- Imported constants whose axioms were followed and found allowed, and on which they rest. -/
structure Known where
  /-- All of them. -/
  followed : NameSet := {}
  /-- Those that rest on `propext`. -/
  onPropext : NameSet := {}
  /-- Those that rest on `Classical.choice`. -/
  onChoice : NameSet := {}
  /-- Those that rest on `Quot.sound`. -/
  onSound : NameSet := {}

/-- A header elaborated once: the state that every job under it starts from. -/
structure Header where
  /-- The text that it was made from; none where it only imports what a file does. -/
  text : Option String
  /-- The modules of the file that it is of; none where it has a text. -/
  modules : List Name
  /-- What it imports: all that a check takes as given. -/
  base : Environment
  /-- Are the trees built that `exact?` and `rw?` keep of what is imported? -/
  searched : IO.Ref Bool
  /-- May headers and specs run code? -/
  trusting : Bool
  /-- Environment, scopes and options behind the header's last command. -/
  state : Elab.Command.State
  /-- Are the bodies of the library's theorems missing, so that they look like axioms? -/
  hidden : Bool
  /-- What is known of the axioms of its constants. -/
  known : IO.Ref Known
  /-- Statements of premises printed so far, by name: printing one takes longer than most checks. -/
  printed : IO.Ref Json

/-- Runs the commands of a header one after the other; an error ends it. -/
partial def runHeader (base : Environment) (code : Bool) (input : Parser.InputContext)
    (state : Elab.Command.State) (at_ : Parser.ModuleParserState) : IO (Except Said Elab.Command.State) := do
  let (stx, next, log) := parseNext input state at_ {}
  let parseErrors ← errorsOf log
  match parseErrors with
  | e :: _ => return .error e
  | [] =>
    if stx.isOfKind ``Parser.Command.eoi then
      return .ok { state with messages := {}, infoState := { enabled := false } }
    match refusedIn code stx with
    | some rule => return .error (plain rule)
    | none =>
      let (after, said) ← runLooked base input code state stx
      match errorsAmong said with
      | e :: _ => return .error e
      | [] => runHeader base code input after next

/-- Options that every job starts with. -/
def baseOptions : Options :=
  let o := (Options.empty).set `autoImplicit false
  let o := o.set `relaxedAutoImplicit false
  let o := o.set `Elab.async false
  let o := o.set `linter.all false
  -- Or `{ toList := l }` in an open goal, of no type that can be told, is no statement of its own.
  let o := o.set `pp.structureInstanceTypes true
  o

/-- Runs a header behind what it imports. -/
def makeHeader (env : Environment) (modules : List Name) (searched : IO.Ref Bool) (trusting : Bool) (text : Option String)
    (input : Parser.InputContext) (at_ : Parser.ModuleParserState) : IO (Except Said Header) := do
  let state := Elab.Command.mkState env {} baseOptions
  let state := { state with infoState := { state.infoState with enabled := false } }
  match ← runHeader env trusting input state at_ with
  | .error e => return .error e
  | .ok state =>
    let hidden := match env.find? `Nat.add_comm with
      | some (.axiomInfo _) => true
      | _ => false
    return .ok
      { text, modules, base := env, searched, trusting, state, hidden, known := ← IO.mkRef {}
        printed := ← IO.mkRef (Json.mkObj []) }

/-- Is a module's name no path to another place: are its parts of letters, digits and what else names have? -/
def isModule : Name → Bool
  | .anonymous => true
  | .str p s => s != "" && areLetters s.toList && isModule p
  | .num _ _ => false
where
  /-- Are all of them letters and the like? -/
  areLetters : List Char → Bool
    | [] => true
    | c :: rest => (c.isAlphanum || c == '_' || c == '-' || c == '\'' || c.toNat > 127) && areLetters rest

/-- Why something cannot be imported: it is no module's name, or a module of Lean's own tests, whose tactics begin what does not
end with them. -/
def notImported : List Name → Option String
  | [] => none
  | n :: rest =>
    if !(isModule n) then some s!"{n.toString false} is no module's name"
    else if (`Lean.Server.Test).isPrefixOf n then some s!"{n.toString false} is for Lean's own tests: leave it out"
    else notImported rest

/-- The modules that a text imports, and where its commands begin. -/
def importsOf (input : Parser.InputContext) : IO (Except Said (List Name × Parser.ModuleParserState)) := do
  let (headerStx, at_, log) ← Parser.parseHeader input
  let errors ← errorsOf log
  match errors with
  | e :: _ => return .error e
  | [] =>
    let modules := modulesOf [] (Elab.headerToImports headerStx).toList
    match notImported modules with
    | some reason => return .error (plain reason)
    | none => return .ok (modules, at_)
where
  /-- Their names, each once: Lean puts `Init` in front, also where a text names it. -/
  modulesOf (done : List Name) : List Import → List Name
    | [] => reversed [] done
    | i :: rest => modulesOf (if memName i.module done then done else i.module :: done) rest

/-! ## Statements -/

/-- A statement elaborated on its own: what the submission must prove. -/
structure Trusted where
  /-- Text of its header, if that has one. -/
  header : Option String
  /-- Text of the statement, or of the file that states it. -/
  text : String
  /-- Full name that it declares. -/
  name : Name
  /-- The proposition. -/
  type : Expr
  /-- Its universe parameters. -/
  levels : List Name
  /-- The library theorem that it restates: a proof may not use it. -/
  origin : Option Name
  /-- Where its proofs are elaborated: behind the header, the origin hidden from `simp` and `grind`. -/
  state : Elab.Command.State
  /-- The environment that it was stated in: a submission must mean the same by what the statement mentions. -/
  stated : Environment
  /-- Was it stated in a file, so that a submission may declare types? -/
  inFile : Bool := false

/-- The state with a theorem taken out of the automation that would find it by itself: what
`attribute [-simp, -grind]` does, where it has any effect. -/
def hide (theorem_ : Name) (state : Elab.Command.State) : List Name → IO Elab.Command.State
  | [] => return state
  | kind :: rest => do
    let context : Core.Context := { fileName := "<origin>", fileMap := FileMap.ofString "" }
    let ref ← IO.mkRef ({ env := state.env } : Core.State)
    match ← (Attribute.erase theorem_ kind context ref).toBaseIO with
    | .ok _ => hide theorem_ { state with env := (← ref.get).env } rest
    | .error _ => hide theorem_ state rest

/-- Elaborates a statement with `sorry` for a proof. -/
def elabStatement (header : Header) (text : String) (origin : Option Name) : IO (Except Said Trusted) := do
  let input := inputOf (text ++ " := sorry")
  match ← parseSingle input header.state with
  | .unparsed e => return .error e
  | .refused rule => return .error (plain rule)
  | .theorem stx name =>
    let full := if (`_root_).isPrefixOf name then name.replacePrefix `_root_ .anonymous
      else (scopeOf header.state).currNamespace ++ name
    if (header.state.env.find? full).isSome then
      return .error (plain s!"the name {full.toString false} is taken")
    -- To look costs half as much again; without variables only the asker's own words can be what does not elaborate.
    let (after, told) ←
      if (scopeOf header.state).varDecls.size == 0 then runSaid header.base false input header.state stx
      else runLooked header.base input false header.state stx
    match errorsAmong told with
    | e :: _ => return .error e
    | [] => match after.env.find? full with
      | some (.thmInfo info) =>
        if info.type.hasSorry then return .error (plain "the statement holds sorry")
        if info.type.hasMVar || info.type.hasFVar then return .error (plain "the statement is not closed")
        let state ← match origin with
          | some o => hide o header.state [`simp, `grind]
          | none => pure header.state
        return .ok
          { header := header.text, text, name := full, type := info.type, levels := info.levelParams, origin, state
            stated := after.env }
      | _ => return .error (plain "it declares no theorem")

/-! ## The kernel, once more -/

/-- Constants that a declaration mentions in its type and value. -/
def constantsOf (info : ConstantInfo) : List Name :=
  let inType := info.type.getUsedConstants.toList
  match info with
  | .thmInfo v => together v.value.getUsedConstants.toList inType
  | .defnInfo v => together v.value.getUsedConstants.toList inType
  | .opaqueInfo v => together v.value.getUsedConstants.toList inType
  | .inductInfo v => together v.ctors inType
  | _ => inType

/-- A kernel environment while a submission's declarations are added to it. -/
structure Replay where
  /-- Holds what was added so far. -/
  env : Kernel.Environment
  /-- Whose types may be added; none: the submission's too. -/
  types : Option Environment
  /-- Constants of header and submission that were met. -/
  added : NameSet := {}
  /-- Imported constants that they mention. -/
  used : NameSet := {}
  /-- What was added, latest first. -/
  declarations : List Declaration := []

/-- Why a submission's declarations were not accepted. -/
inductive Refusal where
  /-- The kernel says no, or a constant is missing. -/
  | kernel (message : String)
  /-- A declaration that no proof may add. -/
  | cheat (rule : String)

/-- The declaration that adds a constant again, where a proof may add such a constant. -/
def declarationOf (name : Name) : ConstantInfo → Except Refusal Declaration
  | .thmInfo v => .ok (.thmDecl v)
  | .defnInfo v =>
    if v.safety == .safe then .ok (.defnDecl v)
    else .error (.cheat s!"an unsafe or partial definition {name.toString false}")
  | .opaqueInfo v =>
    if v.isUnsafe then .error (.cheat s!"an unsafe constant {name.toString false}")
    else .ok (.opaqueDecl v)
  | .axiomInfo _ => .error (.cheat s!"an axiom of its own {name.toString false}")
  | _ => .error (.cheat s!"a type of its own {name.toString false}")

/-! ### Types of a submission

Lean's kernel before 4.34 proves `False` from types of certain forms: a sort that is `Prop` only once it is computed, a
field that is the type only once it is computed, a nested type with parameters of no type or other than its own, a name
that the kernel uses for itself. No honest type needs them, so none of them gets to the kernel. -/

/-- Is the sort `Prop` only where it is written so? -/
def isPlainSort : Level → Bool
  | .zero => true
  | .param _ => true
  | u => isNeverProp u
where
  /-- Is it no `Prop`, whatever its parameters are? -/
  isNeverProp : Level → Bool
    | .succ _ => true
    | .max u v => isNeverProp u || isNeverProp v
    | _ => false

/-- Does a type end in such a sort, without anything being computed? -/
def endsInSort : Expr → Bool
  | .forallE _ _ b _ => endsInSort b
  | .mdata _ b => endsInSort b
  | .sort u => isPlainSort u
  | _ => false

/-- A block of types that are being declared. -/
structure Declared where
  /-- Their names. -/
  names : List Name
  /-- Their universe parameters. -/
  levels : List Level
  /-- How many parameters each has. -/
  params : Nat

/-- Does the kernel name types of its own like that? -/
def isReserved (name : Name) : Bool := name.getRoot == `_nested

mutual
/-- Does every mention of the types, below so many binders of a constructor, give them their own parameters? -/
partial def ownParams (block : Declared) (depth : Nat) (e : Expr) : Bool :=
  match e with
  | .const name levels =>
    if memName name block.names then block.params == 0 && levels == block.levels else !(isReserved name)
  | .app _ _ => match spine [] e with
    | (.const name levels, args) =>
      if memName name block.names then levels == block.levels && givenOwn block depth 0 args
      else !(isReserved name) && allOwn block depth args
    | (f, args) => ownParams block depth f && allOwn block depth args
  | .lam _ t b _ => ownParams block depth t && ownParams block (depth + 1) b
  | .forallE _ t b _ => ownParams block depth t && ownParams block (depth + 1) b
  | .letE _ t v b _ => ownParams block depth t && ownParams block depth v && ownParams block (depth + 1) b
  | .mdata _ b => ownParams block depth b
  | .proj name _ b => !(memName name block.names) && !(isReserved name) && ownParams block depth b
  | _ => true
where
  /-- A function and what it is applied to. -/
  spine (args : List Expr) : Expr → Expr × List Expr
    | .app f a => spine (a :: args) f
    | f => (f, args)

/-- The same of a list. -/
partial def allOwn (block : Declared) (depth : Nat) : List Expr → Bool
  | [] => true
  | e :: rest => ownParams block depth e && allOwn block depth rest

/-- Do the arguments begin with the constructor's parameters, from the given one on? -/
partial def givenOwn (block : Declared) (depth at_ : Nat) : List Expr → Bool
  | [] => at_ == block.params
  | e :: rest =>
    if at_ == block.params then allOwn block depth (e :: rest)
    else e == .bvar (depth - 1 - at_) && givenOwn block depth (at_ + 1) rest
end

/-- Does an expression mention one of the types? -/
def mentions (block : Declared) (e : Expr) : Bool := anyOf e.getUsedConstants.toList
where
  /-- Is one of the names among them? -/
  anyOf : List Name → Bool
    | [] => false
    | n :: rest => memName n block.names || anyOf rest

/-- Is a field's type, where it mentions the types, one of them or an inductive type as it is written, and so in the
parameters of that? -/
partial def isPlainField (env : Kernel.Environment) (block : Declared) (e : Expr) : Bool :=
  if mentions block e then go e else true
where
  /-- Behind its own binders. -/
  go : Expr → Bool
    | .forallE _ t b _ => isPlainField env block t && go b
    | .mdata _ b => go b
    | .lam _ t b _ => isPlainField env block t && go b
    | e => applied e
  /-- Is it a type's name, with what that is applied to? -/
  applied : Expr → Bool
    | .app f a => applied f && isPlainField env block a
    | .const name _ => memName name block.names || (match env.find? name with
      | some (.inductInfo _) => true
      | _ => false)
    | _ => false

/-- Is a constructor's type, below so many binders, of plain fields, and one of the types as it is written? -/
def isPlainConstructor (env : Kernel.Environment) (block : Declared) (depth : Nat) : Expr → Bool
  | .forallE _ t b _ =>
    isPlainField env block t && ownParams block depth t && isPlainConstructor env block (depth + 1) b
  | .mdata _ b => isPlainConstructor env block depth b
  | e => ownParams block depth e && (match e.getAppFn with
    | .const name _ => memName name block.names
    | _ => false)

/-- The first of a block's types that is of no such form. -/
def notPlain (env : Kernel.Environment) (block : Declared) : List InductiveType → Option Name
  | [] => none
  | t :: rest =>
    if endsInSort t.type && !(isReserved t.name) && arePlain t.ctors then notPlain env block rest else some t.name
where
  /-- Are all constructors? -/
  arePlain : List Constructor → Bool
    | [] => true
    | c :: rest => isPlainConstructor env block 0 c.type && arePlain rest

/-- Constants added as axioms: what the kernel says of their types. -/
def addAsAxioms (env : Kernel.Environment) (levels : List Name) : List Constructor →
    Except Kernel.Exception Kernel.Environment
  | [] => .ok env
  | c :: rest =>
    let axiom_ : AxiomVal := { name := c.name, levelParams := levels, type := c.type, isUnsafe := false }
    match Kernel.Environment.addDecl env {} (.axiomDecl axiom_) with
    | .ok env => addAsAxioms env levels rest
    | .error e => .error e

/-- Names and types of a block, those of its constructors behind them. -/
def typesOf (types : List InductiveType) : List Constructor :=
  together (reversed [] (heads types)) (constructors types)
where
  /-- The types themselves. -/
  heads : List InductiveType → List Constructor
    | [] => []
    | t :: rest => { name := t.name, type := t.type } :: heads rest
  /-- Their constructors. -/
  constructors : List InductiveType → List Constructor
    | [] => []
    | t :: rest => together (reversed [] t.ctors) (constructors rest)

/-- What is wrong with types before the kernel makes anything of them. -/
def wrongTypes (env : Kernel.Environment) (levels : List Name) (params : Nat) (types : List InductiveType) :
    IO (Option Refusal) := do
  let block : Declared := { names := namesIn types, levels := levelsIn levels, params }
  match notPlain env block types with
  | some name => return some (.cheat s!"a form of type that the kernel gets wrong: {name.toString false}")
  | none => match addAsAxioms env levels (typesOf types) with
    | .ok _ => return none
    | .error e => do
      let text ← (e.toMessageData {}).toString
      return some (.kernel (clip text))
where
  /-- Their names. -/
  namesIn : List InductiveType → List Name
    | [] => []
    | t :: rest => t.name :: namesIn rest
  /-- Parameters as levels. -/
  levelsIn : List Name → List Level
    | [] => []
    | n :: rest => .param n :: levelsIn rest

/-- The kernel's answer to one declaration more. -/
def addDeclaration (acc : Replay) (declaration : Declaration) : IO (Except Refusal Replay) := do
  let wrong ← match declaration with
    | .inductDecl levels params types _ => wrongTypes acc.env levels params types
    | _ => pure none
  if let some refusal := wrong then return .error refusal
  match Kernel.Environment.addDecl acc.env {} declaration with
  | .ok env => return .ok { acc with env, declarations := declaration :: acc.declarations }
  | .error e => do
    let text ← (e.toMessageData {}).toString
    return .error (.kernel (clip text))

/-- Constructors by name, with the types that an environment gives them. -/
def constructorsOf (env : Environment) : List Name → List Constructor
  | [] => []
  | name :: rest => match env.find? name with
    | some info => { name, type := info.type } :: constructorsOf env rest
    | none => constructorsOf env rest

/-- The types of a mutual block, by name. -/
def blockOf (env : Environment) : List Name → List InductiveType
  | [] => []
  | name :: rest => match env.find? name with
    | some (.inductInfo v) =>
      { name, type := v.type, ctors := constructorsOf env v.ctors } :: blockOf env rest
    | _ => blockOf env rest

/-- Names and mentioned constants of a block: first what it declares, then what its types mention. -/
def namesOfBlock : List InductiveType → List Name × List Name
  | [] => ([], [])
  | type :: rest =>
    let (declared, mentioned) := namesOfBlock rest
    ofConstructors (type.name :: declared) (together type.type.getUsedConstants.toList mentioned) type.ctors
where
  /-- The same for constructors. -/
  ofConstructors (declared mentioned : List Name) : List Constructor → List Name × List Name
    | [] => (declared, mentioned)
    | c :: rest => ofConstructors (c.name :: declared) (together c.type.getUsedConstants.toList mentioned) rest

mutual
/-- Adds a constant of header or submission to the kernel environment, those that it needs first. -/
partial def replay (submitted base : Environment) (acc : Replay) (name : Name) :
    IO (Except Refusal Replay) := do
  if acc.added.contains name then return .ok acc
  if (base.find? name).isSome then
    return .ok { acc with used := acc.used.insert name }
  match submitted.find? name with
  | none => return .error (.kernel s!"unknown constant {name.toString false}")
  | some info =>
    let mayBeType := match acc.types with
      | some env => (env.find? name).isSome
      | none => true
    if mayBeType then
      match info with
      | .inductInfo v => replayBlock submitted base acc v
      | .ctorInfo v => replay submitted base acc v.induct
      | .recInfo v => replayAll submitted base acc v.all
      | _ => replayOne submitted base acc name info
    else replayOne submitted base acc name info

/-- Adds a theorem or definition. -/
partial def replayOne (submitted base : Environment) (acc : Replay) (name : Name) (info : ConstantInfo) :
    IO (Except Refusal Replay) := do
  match ← replayAll submitted base { acc with added := acc.added.insert name } (constantsOf info) with
  | .error refusal => return .error refusal
  | .ok acc => match declarationOf name info with
    | .error refusal => return .error refusal
    | .ok declaration => addDeclaration acc declaration

/-- Adds the types of a mutual block; the kernel makes their recursors itself. -/
partial def replayBlock (submitted base : Environment) (acc : Replay) (v : InductiveVal) :
    IO (Except Refusal Replay) := do
  if v.isUnsafe then return .error (.cheat s!"an unsafe type {v.name.toString false}")
  let block := blockOf submitted v.all
  let (declared, mentioned) := namesOfBlock block
  match ← replayAll submitted base { acc with added := joinAll acc.added declared } mentioned with
  | .error refusal => return .error refusal
  | .ok acc => addDeclaration acc (.inductDecl v.levelParams v.numParams block false)

/-- Adds a list of constants. -/
partial def replayAll (submitted base : Environment) (acc : Replay) :
    List Name → IO (Except Refusal Replay)
  | [] => return .ok acc
  | name :: rest => do
    match ← replay submitted base acc name with
    | .ok acc => replayAll submitted base acc rest
    | .error refusal => return .error refusal
end

/-! ## Declarations as JSON

An expression is a row of a table; rows come after those that they mention, so that what is shared is written
once. Names are lists of their parts: nothing is parsed back from printed text. What means nothing to the kernel is
left out: names and kinds of binders, annotations. -/

/-- The row of each expression written so far: a search tree by hash. -/
inductive Rows where
  /-- No rows. -/
  | none
  /-- An expression, its row, those of smaller hash and the others. -/
  | node (key : Expr) (row : Nat) (left right : Rows)

/-- The row of an expression. -/
def Rows.find? (e : Expr) : Rows → Option Nat
  | .none => Option.none
  | .node key row left right =>
    if e.hash < key.hash then left.find? e
    else if e.hash == key.hash && e == key then some row
    else right.find? e

/-- One row more. -/
def Rows.insert (e : Expr) (row : Nat) : Rows → Rows
  | .none => .node e row .none .none
  | .node key other left right =>
    if e.hash < key.hash then .node key other (left.insert e row) right
    else .node key other left (right.insert e row)

/-- A table being written. -/
structure Table where
  /-- What stands where. -/
  rows : Rows := .none
  /-- The rows. -/
  json : Array Json := #[]

/-- A name's parts, in front of others. -/
def partsOf (rest : List Json) : Name → List Json
  | .anonymous => rest
  | .str p s => partsOf (.str s :: rest) p
  | .num p n => partsOf (.num n :: rest) p

/-- A JSON array of few things. -/
def row (xs : List Json) : Json := listJson (fun j => j) xs

/-- A name as the list of its parts. -/
def partsJson (n : Name) : Json := row (partsOf [] n)

mutual
/-- A universe level. -/
partial def levelJson : Level → Json
  | .zero => row [.str "zero"]
  | .succ u => succJson 1 u
  | .max u v => row [.str "max", levelJson u, levelJson v]
  | .imax u v => row [.str "imax", levelJson u, levelJson v]
  | .param n => row [.str "param", partsJson n]
  | .mvar _ => .null

/-- So many successors of a level: counted, since no reader of JSON takes rows as deep as they may be many. -/
partial def succJson (n : Nat) : Level → Json
  | .succ u => succJson (n + 1) u
  | u => row [.str "succ", .num n, levelJson u]
end

/-- Writes an expression and gives its row. -/
partial def exportExpr (table : Table) (e : Expr) : Nat × Table :=
  match table.rows.find? e with
  | some at_ => (at_, table)
  | none => match e with
    | .mdata _ b => exportExpr table b
    | .bvar i => push table [.str "bvar", .num i]
    | .sort u => push table [.str "sort", levelJson u]
    | .const n us => push table [.str "const", partsJson n, listJson levelJson us]
    | .lit (.natVal n) => push table [.str "nat", .str (toString n)]
    | .lit (.strVal s) => push table [.str "str", .str s]
    | .app f a =>
      let (f, table) := exportExpr table f
      let (a, table) := exportExpr table a
      push table [.str "app", .num f, .num a]
    | .lam _ t b _ =>
      let (t, table) := exportExpr table t
      let (b, table) := exportExpr table b
      push table [.str "lam", .num t, .num b]
    | .forallE _ t b _ =>
      let (t, table) := exportExpr table t
      let (b, table) := exportExpr table b
      push table [.str "pi", .num t, .num b]
    | .letE _ t v b nondep =>
      let (t, table) := exportExpr table t
      let (v, table) := exportExpr table v
      let (b, table) := exportExpr table b
      push table [.str "let", .num t, .num v, .num b, .bool nondep]
    | .proj s i b =>
      let (b, table) := exportExpr table b
      push table [.str "proj", partsJson s, .num i, .num b]
    | _ => push table [] -- nothing that the kernel accepted
where
  /-- Adds the row. -/
  push (table : Table) (json : List Json) : Nat × Table :=
    let at_ := table.json.size
    (at_, { rows := table.rows.insert e at_, json := table.json.push (row json) })

/-- A definition's weight for unfolding. -/
def hintsJson : ReducibilityHints → Json
  | .opaque => .str "opaque"
  | .abbrev => .str "abbrev"
  | .regular n => .num n.toNat

/-- Constructors, or anything with a name and a type. -/
def exportTyped (table : Table) (done : List Json) : List Constructor → List Json × Table
  | [] => (reversed [] done, table)
  | c :: rest =>
    let (type, table) := exportExpr table c.type
    exportTyped table (row [partsJson c.name, .num type] :: done) rest

/-- The types of a block. -/
def exportTypes (table : Table) (done : List Json) : List InductiveType → List Json × Table
  | [] => (reversed [] done, table)
  | t :: rest =>
    let (type, table) := exportExpr table t.type
    let (ctors, table) := exportTyped table [] t.ctors
    exportTypes table (row [partsJson t.name, .num type, row ctors] :: done) rest

/-- One declaration. -/
def exportDeclaration (table : Table) : Declaration → Json × Table
  | .thmDecl v => valued "theorem" v.toConstantVal v.value .null table
  | .defnDecl v => valued "definition" v.toConstantVal v.value (hintsJson v.hints) table
  | .opaqueDecl v => valued "opaque" v.toConstantVal v.value .null table
  | .inductDecl levels params types _ =>
    let (types, table) := exportTypes table [] types
    (row [.str "inductive", listJson partsJson levels, .num params, row types], table)
  | _ => (.null, table)
where
  /-- One with a value. -/
  valued (kind : String) (v : ConstantVal) (value : Expr) (hints : Json) (table : Table) : Json × Table :=
    let (type, table) := exportExpr table v.type
    let (value, table) := exportExpr table value
    (row [.str kind, partsJson v.name, listJson partsJson v.levelParams, .num type, .num value, hints], table)

/-- Declarations, latest first, as a table and what stands in it. -/
def exportedJson (declarations : List Declaration) : Json :=
  go {} [] (reversed [] declarations)
where
  /-- One after the other. -/
  go (table : Table) (done : List Json) : List Declaration → Json
    | [] => Json.mkObj [("rows", .arr table.json), ("declarations", row (reversed [] done))]
    | d :: rest =>
      let (json, table) := exportDeclaration table d
      go table (json :: done) rest

/-- A list of values, each read. -/
def readAll (read : Json → Except String α) (done : List α) : List Json → Except String (List α)
  | [] => .ok (reversed [] done)
  | j :: rest => match read j with
    | .ok a => readAll read (a :: done) rest
    | .error e => .error e

/-- The values of a JSON array. -/
def itemsOf : Json → List Json
  | .arr items => items.toList
  | _ => []

/-- A name from its parts. -/
def readName (json : Json) : Except String Name := go .anonymous (itemsOf json)
where
  /-- Adds the parts. -/
  go (acc : Name) : List Json → Except String Name
    | [] => .ok acc
    | .str s :: rest => go (.str acc s) rest
    | j :: rest => match j.getNat? with
      | .ok n => go (.num acc n) rest
      | .error e => .error e

/-- A universe level. -/
partial def readLevel (json : Json) : Except String Level :=
  match itemsOf json with
  | [.str "zero"] => .ok .zero
  | [.str "succ", n, u] => do return above (← readLevel u) (← n.getNat?)
  | [.str "max", u, v] => do return .max (← readLevel u) (← readLevel v)
  | [.str "imax", u, v] => do return .imax (← readLevel u) (← readLevel v)
  | [.str "param", n] => do return .param (← readName n)
  | _ => .error "no level"
where
  /-- So many successors of it. -/
  above (u : Level) : Nat → Level
    | 0 => u
    | n + 1 => above (.succ u) n

/-- The expression in a row that was read before. -/
def readRow (rows : Array Expr) (json : Json) : Except String Expr := do
  let at_ ← json.getNat?
  match rows[at_]? with
  | some e => return e
  | none => .error s!"row {at_} is not there yet"

/-- One row. -/
def readExpr (rows : Array Expr) (json : Json) : Except String Expr :=
  match itemsOf json with
  | [.str "bvar", i] => do return .bvar (← i.getNat?)
  | [.str "sort", u] => do return .sort (← readLevel u)
  | [.str "const", n, us] => do return .const (← readName n) (← readAll readLevel [] (itemsOf us))
  | [.str "nat", .str n] => match n.toNat? with -- as text: not every reader of JSON takes long numbers
    | some n => .ok (.lit (.natVal n))
    | none => .error "no number"
  | [.str "str", .str s] => .ok (.lit (.strVal s))
  | [.str "app", f, a] => do return .app (← readRow rows f) (← readRow rows a)
  | [.str "lam", t, b] => do return .lam `x (← readRow rows t) (← readRow rows b) .default
  | [.str "pi", t, b] => do return .forallE `x (← readRow rows t) (← readRow rows b) .default
  | [.str "let", t, v, b, .bool nondep] => do
    return .letE `x (← readRow rows t) (← readRow rows v) (← readRow rows b) nondep
  | [.str "proj", s, i, b] => do return .proj (← readName s) (← i.getNat?) (← readRow rows b)
  | _ => .error "no expression"

/-- All rows, in their order. -/
def readRows (rows : Array Expr) : List Json → Except String (Array Expr)
  | [] => .ok rows
  | j :: rest => match readExpr rows j with
    | .ok e => readRows (rows.push e) rest
    | .error e => .error e

/-- A constructor. -/
def readConstructor (rows : Array Expr) (json : Json) : Except String Constructor :=
  match itemsOf json with
  | [n, t] => do return { name := ← readName n, type := ← readRow rows t }
  | _ => .error "no constructor"

/-- A type of a block. -/
def readType (rows : Array Expr) (json : Json) : Except String InductiveType :=
  match itemsOf json with
  | [n, t, ctors] => do
    return { name := ← readName n, type := ← readRow rows t,
             ctors := ← readAll (readConstructor rows) [] (itemsOf ctors) }
  | _ => .error "no type"

/-- One declaration: never an axiom, never unsafe. -/
def readDeclaration (rows : Array Expr) (json : Json) : Except String Declaration :=
  match itemsOf json with
  | [.str "inductive", levels, params, types] => do
    let levelParams ← readAll readName [] (itemsOf levels)
    return .inductDecl levelParams (← params.getNat?) (← readAll (readType rows) [] (itemsOf types)) false
  | [.str kind, n, levels, t, v, hints] => do
    let name ← readName n
    let levelParams ← readAll readName [] (itemsOf levels)
    let type ← readRow rows t
    let value ← readRow rows v
    match kind with
    | "theorem" => return .thmDecl { name, levelParams, type, value }
    | "definition" =>
      return .defnDecl { name, levelParams, type, value, hints := readHints hints, safety := .safe }
    | "opaque" => return .opaqueDecl { name, levelParams, type, value, isUnsafe := false, all := [name] }
    | other => .error s!"no declaration: {other}"
  | _ => .error "no declaration"
where
  /-- A definition's weight for unfolding. -/
  readHints : Json → ReducibilityHints
    | .str "abbrev" => .abbrev
    | .str _ => .opaque
    | j => match j.getNat? with
      | .ok n => .regular n.toUInt32
      | .error _ => .opaque

/-- The declarations of an export, in their order. -/
def importedFrom (json : Json) : Except String (List Declaration) := do
  let rows ← readRows #[] (itemsOf (← json.getObjVal? "rows"))
  readAll (readDeclaration rows) [] (itemsOf (← json.getObjVal? "declarations"))

/-! ## Axioms -/

/-- The axioms that a proof may rest on. -/
def allowedAxioms : List Name := [`propext, `Classical.choice, `Quot.sound]

/-- Real axioms of the library, and what rests on one: the kernel computes the last two by compiled code. Where
the bodies of its theorems are hidden they look like axioms too; there, what was imported counts as a theorem
but for these. -/
def realAxioms : List Name :=
  [`sorryAx, `Lean.ofReduceBool, `Lean.ofReduceNat, `Lean.trustCompiler, `lcProof, `lcUnreachable,
   `lcAny, `lcVoid, `lcErased, `Lean.reduceBool, `Lean.reduceNat]

/-- What was found below some constants. -/
structure Axioms where
  /-- Constants followed. -/
  seen : NameSet := {}
  /-- Allowed axioms met. -/
  allowed : NameSet := {}
  /-- Others. -/
  denied : List Name := []

/-- The allowed axioms, of three, that a constant is known to rest on. -/
def knownAxioms (known : Known) (name : Name) (acc : NameSet) : NameSet :=
  let acc := if known.onPropext.contains name then acc.insert `propext else acc
  let acc := if known.onChoice.contains name then acc.insert `Classical.choice else acc
  if known.onSound.contains name then acc.insert `Quot.sound else acc

/-- Remembers a constant whose axioms are all allowed. -/
def remember (known : Known) (name : Name) (allowed : NameSet) : Known :=
  { followed := known.followed.insert name
    onPropext := if allowed.contains `propext then known.onPropext.insert name else known.onPropext
    onChoice := if allowed.contains `Classical.choice then known.onChoice.insert name else known.onChoice
    onSound := if allowed.contains `Quot.sound then known.onSound.insert name else known.onSound }

/-- Follows imported constants to their axioms; the list holds what is still to follow. One that is not there, though
an imported one mentions it, is denied: a header or file may declare something of its name. -/
partial def axiomsBelow (header : Header) (known : Known) (acc : Axioms) : List Name → Axioms
  | [] => acc
  | name :: rest =>
    if acc.seen.contains name then axiomsBelow header known acc rest
    else
      let acc := { acc with seen := acc.seen.insert name }
      if known.followed.contains name then
        axiomsBelow header known { acc with allowed := knownAxioms known name acc.allowed } rest
      else match header.base.find? name with
      | none => axiomsBelow header known { acc with denied := name :: acc.denied } rest
      | some info => match info with
        | .axiomInfo v =>
          if memName name allowedAxioms then
            axiomsBelow header known { acc with allowed := acc.allowed.insert name } rest
          else if header.hidden && !(memName name realAxioms) && !v.isUnsafe then
            axiomsBelow header known acc (together (constantsOf info) rest)
          else axiomsBelow header known { acc with denied := name :: acc.denied } rest
        | _ => axiomsBelow header known acc (together (constantsOf info) rest)

/-- The axioms of imported constants. What a constant rests on is found once for each header:
these constants never change, a header's and a submission's own are never among them. -/
def axiomsOf (header : Header) (allowed : NameSet) (denied : List Name) : List Name → IO (NameSet × List Name)
  | [] => return (allowed, denied)
  | name :: rest => do
    let known ← header.known.get
    if known.followed.contains name then
      axiomsOf header (knownAxioms known name allowed) denied rest
    else
      let found := axiomsBelow header known {} [name]
      match found.denied with
      | [] => do
        header.known.set (remember known name found.allowed)
        axiomsOf header (joinAll allowed found.allowed.toList) denied rest
      | _ => axiomsOf header allowed (together found.denied denied) rest

/-! ## Premises -/

/-- The declaration that an auxiliary constant was made for: `foo._simp_1` and `foo.match_1` give `foo`. -/
partial def ownerOf (name : Name) : Name :=
  if name.isInternal then ownerOf name.getPrefix else name

/-- Runs a question about a header's environment. -/
def ask (header : Header) (question : MetaM α) : IO (Option α) := do
  let beats ← IO.getNumHeartbeats -- of the thread's whole life: without them the question has timed out already
  let context : Core.Context :=
    { fileName := "<question>", fileMap := FileMap.ofString "", initHeartbeats := beats }
  match ← ((Meta.MetaM.run' question).run' context { env := header.state.env }).toBaseIO with
  | .ok a => return some a
  | .error _ => return none

/-- The statement of a constant as Lean prints it. -/
def statementOf (header : Header) (name : Name) : IO String := do
  let printed ← header.printed.get
  let key := name.toString false
  match printed.getObjVal? key with
  | .ok (.str text) => return text
  | _ => do
    match ← ask header (do let signature ← PrettyPrinter.ppSignature name; return signature) with
    | some signature => do
      let text := signature.fmt.pretty 100000
      header.printed.modify fun printed => printed.setObjVal! key (.str text)
      return text
    | none => return ""

/-- Is the constant a theorem, or, where bodies are hidden, one by its type? -/
def isTheorem (header : Header) (info : ConstantInfo) : IO Bool := do
  match info with
  | .thmInfo _ => return true
  | .axiomInfo v => do
    match ← ask header (do let yes ← Meta.isProp v.type; return yes) with
    | some yes => return yes
    | none => return false
  | _ => return false

/-- The module that a constant was imported from. -/
def moduleOf (header : Header) (name : Name) : String :=
  match header.state.env.getModuleIdxFor? name with
  | none => ""
  | some index => match header.state.env.header.moduleNames[index.toNat]? with
    | some m => m.toString false
    | none => ""

/-- Name, module and statement of the theorems among the constants used, each once. -/
partial def premisesOf (header : Header) (acc : List Json) (seen : NameSet) : List Name → IO (List Json)
  | [] => return acc
  | name :: rest => do
    let owner := ownerOf name
    if seen.contains owner then premisesOf header acc seen rest
    else
      let found ← match header.state.env.find? owner with
        | none => pure false
        | some info => isTheorem header info
      if found then
        let text ← statementOf header owner
        let premise : Json := .arr #[nameJson owner, .str (moduleOf header owner), .str text]
        premisesOf header (premise :: acc) (seen.insert owner) rest
      else premisesOf header acc (seen.insert owner) rest

/-- The first constant used that gives the statement away: the library declaration that it restates, one
made from it, or one of the same type. -/
def givenAway (header : Header) (trusted : Trusted) (origin : Name) : List Name → Option Name
  | [] => none
  | name :: rest =>
    let owner := ownerOf name
    let sameType := match header.state.env.find? name with
      | some info => info.type == trusted.type
      | none => false
    if owner == origin || origin.isPrefixOf name || sameType then some owner
    else givenAway header trusted origin rest

/-! ## One job -/

/-- What is said of a job. -/
structure Reply where
  /-- One of the verdicts. -/
  verdict : String
  /-- Why, for anything but `proved`. -/
  reason : String := ""
  /-- Lean's messages. -/
  messages : List Said := []
  /-- Allowed axioms that the proof rests on. -/
  axioms : List Name := []
  /-- Premises, when asked for. -/
  premises : List Json := []
  /-- What the kernel accepted, when asked for: enough for another process to ask its own kernel. -/
  exported : Json := .null
  /-- Heartbeats spent on the submission, in thousands. -/
  heartbeats : Nat := 0
  /-- Nanoseconds: the submission's elaboration, and the kernel's check with the walk to the axioms. -/
  proofNs : Nat := 0
  /-- See `proofNs`. -/
  kernelNs : Nat := 0
  /-- Was it the kernel that refused? -/
  byKernel : Bool := false

/-- The state with the budget of one job. Acceptance rests on the kernel's check after elaboration; a quick
elaboration leaves out its own, which takes as long. -/
def withBudget (state : Elab.Command.State) (heartbeats : Nat) (quick : Bool) : Elab.Command.State :=
  match state.scopes with
  | scope :: rest =>
    let opts := scope.opts.set `maxHeartbeats heartbeats
    let opts := opts.set `debug.skipKernelTC quick
    { state with scopes := { scope with opts } :: rest }
  | [] => state

/-- Whether an error says that the heartbeats ran out. -/
def saysTimeout : List Said → Bool
  | [] => false
  | e :: rest => if hasPart "(deterministic) timeout".toList e.text.toList then true else saysTimeout rest

/-- What a request asks for beside the verdict, and its budget. -/
structure Wanted where
  /-- In thousands. -/
  heartbeats : Nat
  /-- Elaborate without the elaborator's own kernel checks. -/
  quick : Bool
  /-- Does a tactic of the text search the library? -/
  searches : Bool := false
  /-- See `Reply`. -/
  premises : Bool
  /-- See `Reply`. -/
  exported : Bool

/-- Did Lean make the constant for a piece of a declaration, a `match`, what it distinguishes, or a proof in a term? A second
declaration with an equal piece uses the first one's. -/
def isPiece (name : Name) : Bool :=
  let (_, last) := splitLast name
  startsWithChars last.toList "match_".toList || startsWithChars last.toList "_proof_".toList ||
    startsWithChars last.toList "_sparseCasesOn_".toList

/-- An environment, as comparing needs it: what it imports, and how it finds constants. -/
structure Place where
  /-- What both sides have in common. -/
  imported : Environment
  /-- The constant of a name. -/
  find? : Name → Option ConstantInfo

/-- An expression without annotations, such as that an argument is borrowed (`@&`), and with the values of pieces
for their names, which depend on what else a file holds. -/
partial def bare (place : Place) (e : Expr) : Expr :=
  e.replace fun
    | .mdata _ b => some (bare place b)
    | .const name levels =>
      if !(isPiece name) || (place.imported.find? name).isSome then none
      else match place.find? name with
        | some (.defnInfo v) => some (bare place (v.value.instantiateLevelParams v.levelParams levels))
        | some (.thmInfo v) => some (bare place (v.value.instantiateLevelParams v.levelParams levels))
        | _ => none
    | _ => none

/-- Is one of the constants a piece that was not imported? -/
def anyPiece (place : Place) : List Name → Bool
  | [] => false
  | name :: rest => match place.imported.find? name with
    | some _ => anyPiece place rest
    | none => isPiece name || anyPiece place rest

/-- Does the expression mention a piece that was not imported? Without one nothing in it stands for a value. -/
def hasPieces (place : Place) (e : Expr) : Bool := anyPiece place e.getUsedConstants.toList

/-- Are these the same expression, each in its place, but for what means nothing to the kernel: annotations, and
names and kinds of binders, which `==` looks over? -/
def sameExpr (here there : Place) (a b : Expr) : Bool :=
  (a == b && !(hasPieces here a)) || bare here a == bare there b

/-- Are these one and the same constant, proofs aside? -/
def sameConstant (here there : Place) (a b : ConstantInfo) : Bool :=
  sameExpr here there a.type b.type && a.levelParams == b.levelParams && match a, b with
    | .thmInfo _, .thmInfo _ => true
    | .defnInfo v, .defnInfo w => sameExpr here there v.value w.value && v.safety == w.safety
    | .opaqueInfo v, .opaqueInfo w => sameExpr here there v.value w.value && v.isUnsafe == w.isUnsafe
    | .inductInfo v, .inductInfo w => v.numParams == w.numParams && v.ctors == w.ctors && v.all == w.all
    | .ctorInfo v, .ctorInfo w => v.induct == w.induct && v.cidx == w.cidx
    | .recInfo v, .recInfo w => v.all == w.all
    | _, _ => false

/-- What a constant's meaning rests on: all it mentions, but for a theorem's proof. -/
def meaningOf (place : Place) (info : ConstantInfo) : List Name :=
  let inType := usedIn info.type
  match info with
  | .defnInfo v => together (usedIn v.value) inType
  | .opaqueInfo v => together (usedIn v.value) inType
  | .inductInfo v => together v.ctors inType
  | _ => inType
where
  /-- The constants of an expression. -/
  usedIn (e : Expr) : List Name :=
    if hasPieces place e then (bare place e).getUsedConstants.toList else e.getUsedConstants.toList

/-- The first constant, of those that the listed ones rest on where they were stated, that the other place lacks
or has otherwise. -/
partial def changedIn (stated there : Place) (seen : NameSet) : List Name → Option Name
  | [] => none
  | name :: rest =>
    if seen.contains name || (stated.imported.find? name).isSome then changedIn stated there seen rest
    else match stated.find? name, there.find? name with
      | some a, some b =>
        if sameConstant stated there a b then
          changedIn stated there (seen.insert name) (together (meaningOf stated a) rest)
        else some name
      | _, _ => some name

/-- What the kernel accepted is a theorem of the trusted type, means by it what was stated, and its axioms are
allowed. -/
def accept (header : Header) (trusted : Trusted) (acc : Replay) (wanted : Wanted) : IO Reply := do
  match acc.env.find? trusted.name with
  | some (.thmInfo info) =>
    let stated : Place := { imported := header.base, find? := trusted.stated.find? }
    let there : Place := { imported := header.base, find? := acc.env.find? }
    if !(sameExpr there stated info.type trusted.type) then
      return { verdict := "cheated", reason := "it proves another statement" }
    if info.levelParams != trusted.levels then
      return { verdict := "cheated", reason := "its universe levels differ" }
    match changedIn stated there {} [trusted.name] with
    | some name => return { verdict := "cheated", reason := s!"{name.toString false} is not what was stated" }
    | none =>
    let used := acc.used.toList
    let (allowed, denied) ← axiomsOf header {} [] used
    match denied with
    | other :: _ =>
      if memName `sorryAx denied then return { verdict := "incomplete", reason := "it uses sorry" }
      return { verdict := "cheated", reason := s!"axiom {other.toString false}" }
    | [] =>
      let named := together (ofHeader header acc.added.toList) used
      let givenAwayBy := match trusted.origin with
        | some o => givenAway header trusted o named
        | none => none
      match givenAwayBy with
      | some name => return { verdict := "rejected", reason := s!"uses {name.toString false}, which gives the statement away" }
      | none =>
        let premises ← if wanted.premises then premisesOf header [] {} named else pure []
        let exported := if wanted.exported then exportedJson acc.declarations else .null
        return { verdict := "proved", axioms := allowed.toList, premises, exported }
  | _ => return { verdict := "rejected", reason := "it adds no theorem of that name" }
where
  /-- Those of the names that the header declares. -/
  ofHeader (header : Header) : List Name → List Name
    | [] => []
    | name :: rest =>
      if (header.state.env.find? name).isSome then name :: ofHeader header rest else ofHeader header rest

/-- Steps 4 to 6: the kernel accepts the constant and all it needs, of the header too, behind what is imported, and what
it accepted is what was asked for. -/
def judge (header : Header) (trusted : Trusted) (submitted : Environment) (wanted : Wanted) : IO Reply := do
  let base := header.base
  match submitted.find? trusted.name with
  | some (.thmInfo _) =>
    let types := if trusted.inFile then none else some header.state.env
    let start : Replay := { env := base.toKernelEnv, types }
    match ← replay submitted base start trusted.name with
    | .error (.kernel message) => return { verdict := "rejected", reason := message, byKernel := true }
    | .error (.cheat rule) => return { verdict := "cheated", reason := rule }
    | .ok acc => accept header trusted acc wanted
  | _ => return { verdict := "rejected", reason := "it adds no theorem of that name" }

/-- Judges what elaboration left, unless it left errors. -/
def judgeOr (said : List Said) (judgement : IO Reply) : IO Reply := do
  let errors := errorsAmong said
  let reply ← match errors with
    | [] => judgement
    | _ =>
      if saysTimeout errors then pure { verdict := "timed_out", reason := "heartbeats ran out" }
      else pure { verdict := "rejected", reason := "Lean reports an error" }
  return { reply with messages := said }

/-- Elaborates by an action and judges what it left, with times. -/
def timed (elaborate : IO α) (judgement : α → IO Reply) : IO Reply := do
  let beats ← IO.getNumHeartbeats
  let begin_ ← IO.monoNanosNow
  let after ← elaborate
  let elaborated ← IO.monoNanosNow
  let spent := ((← IO.getNumHeartbeats) - beats) / 1000
  let reply ← judgement after
  let done ← IO.monoNanosNow
  return { reply with heartbeats := spent, proofNs := elaborated - begin_, kernelNs := done - elaborated }

/-- A verdict after quick elaboration; where the kernel refuses then, the verdict after a full one: a tactic
such as `first | decide +kernel | …` goes by what the elaborator's kernel check says. -/
def quickly (wanted : Wanted) (judgement : Wanted → IO Reply) : IO Reply := do
  let reply ← judgement wanted
  if wanted.quick && reply.byKernel then judgement { wanted with quick := false } else return reply

/-- Builds the trees that `exact?` and `rw?` keep of what is imported, once and for all, before a proof that searches: whoever came
first would pay for them, and have them made by its options. -/
def beforeSearch (header : Header) : IO Unit := do
  if ← header.searched.get then return
  header.searched.set true
  let input := inputOf "theorem searched (a b c : Nat) (h : a ≤ b) : a * c ≤ b * c := by first | (rw?; fail) | exact?"
  let state := Elab.Command.mkState header.base {} baseOptions
  let (stx, _, _) := parseNext input state {} {}
  let _ ← runGuarded header.base false input (withBudget state 0 true) stx

/-- Checks one proof of a statement. -/
def check (header : Header) (trusted : Trusted) (proof : String) (wanted : Wanted) : IO Reply := do
  let input := inputOf (trusted.text ++ " := " ++ proof)
  match ← parseSingle input trusted.state with
  | .unparsed e => return { verdict := "rejected", reason := "it does not parse", messages := [e] }
  | .refused rule => return { verdict := "cheated", reason := rule }
  | .theorem stx _ =>
    if wanted.searches then beforeSearch header
    quickly wanted fun wanted =>
      let state := withBudget trusted.state wanted.heartbeats wanted.quick
      timed (runGuarded header.base false input state stx) fun after => do
        let said ← saidIn after.messages.toList
        judgeOr said (judge header trusted after.env wanted)

/-! ## Whole files -/

/-- Is the command word for word one of the list? -/
def isOneOf (stx : Syntax) : List Syntax → Bool
  | [] => false
  | s :: rest => if s.structEq stx then true else isOneOf stx rest

/-- What a file is sent for. -/
inductive Role where
  /-- It says what is meant. -/
  | spec
  /-- It is to prove what a spec of these commands means, the last first. -/
  | submission (commands : List Syntax)
  /-- It is to be reported on. -/
  | report

/-- Is the command given: one of a spec? -/
def isGiven (role : Role) (stx : Syntax) : Bool :=
  match role with
  | .spec => true
  | .submission commands => isOneOf stx commands
  | .report => false

/-- What running a file's commands has given so far, the latest first. -/
structure Done where
  /-- The commands. -/
  commands : List Syntax := []
  /-- What Lean said. -/
  said : List Said := []
  /-- What has no name in a file that is reported on, under one. -/
  examples : List Found := []
  /-- What of its spec is still to come, as long as the file has been that, word for word. -/
  ahead : List Syntax := []

/-- May the code of a file's next command run, and what of the spec comes behind it? A spec's own may; a file's while all
that came before was the spec's: else the words of a command may mean something else. -/
def mayRun (role : Role) (ahead : List Syntax) (stx : Syntax) : Bool × List Syntax :=
  match role, ahead with
  | .spec, _ => (true, [])
  | _, next :: rest => if next.structEq stx then (true, rest) else (false, [])
  | _, [] => (false, [])

/-- How running a file's commands ended. -/
inductive Ran where
  /-- At its end. -/
  | whole (state : Elab.Command.State) (done : Done)
  /-- At errors. -/
  | errors (said : List Said)
  /-- At a command that is refused. -/
  | refused (rule : String)

/-- Numbers of heartbeats, the budget where they are larger; 0 means no bound. -/
def bounded (budget : Nat) : List Syntax → List Syntax
  | [] => []
  | part :: rest => (match part.isNatLit? with
    | some n => if n == 0 || budget < n then Syntax.mkNumLit (toString budget) else part
    | none => part) :: bounded budget rest

mutual
/-- The command with no budget of heartbeats larger than the job's. -/
partial def withinBudget (budget : Nat) : Syntax → Syntax
  | .node info kind args =>
    let (_, last) := splitLast kind
    match allWithinBudget budget args.toList with
    | word :: option :: value =>
      let sets := (last == "set_option" || last == "setOption") && option.getId == `maxHeartbeats
      .node info kind (nodesOf #[] (word :: option :: if sets then bounded budget value else value))
    | parts => .node info kind (nodesOf #[] parts)
  | stx => stx

/-- The same of a list. -/
partial def allWithinBudget (budget : Nat) : List Syntax → List Syntax
  | [] => []
  | stx :: rest => withinBudget budget stx :: allWithinBudget budget rest
end

/-- The answer to `#print axioms`, by our own walk: Lean's takes what the library hides for axioms. -/
def axiomsSaid (header : Header) (input : Parser.InputContext) (state : Elab.Command.State) (stx : Syntax) : IO Said := do
  let scope := scopeOf state
  let asked := (stx.getArg 2).getId
  let at_ := input.fileMap.toPosition (stx.getPos?.getD 0)
  let say (severity text : String) : Said :=
    { severity, line := at_.line, column := at_.column, endLine := at_.line, endColumn := at_.column + 6, text }
  match ResolveName.resolveGlobalName state.env scope.opts scope.currNamespace scope.openDecls asked with
  | [(name, [])] =>
    match ← replay state.env header.base { env := header.base.toKernelEnv, types := none } name with
    | .error (.kernel message) => return say "error" message
    | .error (.cheat rule) => return say "error" rule
    | .ok acc =>
      let (allowed, denied) ← axiomsOf header {} [] acc.used.toList
      let named := s!"'{(privateToUserName name).toString false}'"
      match together denied allowed.toList with
      | [] => return say "information" (named ++ " does not depend on any axioms")
      | first :: rest => return say "information" (named ++ " depends on axioms: [" ++ listed (first.toString false) rest ++ "]")
  | _ => return say "error" ("unknown or ambiguous constant '" ++ asked.toString false ++ "'")
where
  /-- Names with commas between them. -/
  listed (acc : String) : List Name → String
    | [] => acc
    | name :: rest => listed (acc ++ ", " ++ name.toString false) rest

/-- Runs the commands of a file one after the other; an error or a refusal ends it. -/
partial def runFile (role : Role) (wanted : Wanted) (input : Parser.InputContext)
    (header : Header) (code : Bool) (done : Done)
    (state : Elab.Command.State) (at_ : Parser.ModuleParserState) : IO Ran := do
  let (stx, next, log) := parseNext input state at_ {}
  let unread ← saidIn log.toList
  match errorsAmong unread with
  | _ :: _ => return .errors (together done.said unread)
  | [] =>
    if stx.isOfKind ``Parser.Command.eoi then return .whole state { done with said := reversed [] done.said }
    let given := isGiven role stx
    match if given then refusedIn code stx else forbidden fileRules stx with
    | some rule => return .refused rule
    | none =>
      let (runs, ahead) := mayRun role done.ahead stx
      let (after, new, examples) ←
        if stx.isOfKind ``Parser.Command.printAxioms then pure (state, [← axiomsSaid header input state stx], [])
        else do
          let state := withBudget state wanted.heartbeats wanted.quick
          let stx := withinBudget wanted.heartbeats stx
          match role with
          | .spec =>
            let (after, said) ← runLooked header.base input code state stx
            pure (after, said, [])
          | .submission _ =>
            let (after, said) ← runSaid header.base (code && runs) input state stx
            pure (after, said, [])
          | .report => runReported header.base input state stx
      let said := together new done.said
      match errorsAmong new with
      | [] =>
        let done := { commands := stx :: done.commands, said, examples := together examples done.examples, ahead }
        runFile role wanted input header code done after next
      | _ => return .errors (reversed [] said)

/-- Runs a file behind its header. -/
def runCommands (role : Role) (wanted : Wanted) (input : Parser.InputContext) (header : Header)
    (at_ : Parser.ModuleParserState) : IO Ran := do
  let ahead := match role with
    | .submission commands => reversed [] commands
    | _ => []
  runFile role wanted input header header.trusting { ahead } header.state at_

/-- The first of some names that is not among the others. -/
def missingFrom (allowed : List Name) : List Name → Option Name
  | [] => none
  | n :: rest => if memName n allowed then missingFrom allowed rest else some n

/-- A spec file elaborated on its own, and its commands. -/
structure Spec where
  /-- The theorem asked for. -/
  trusted : Trusted
  /-- Modules imported. -/
  imports : List Name
  /-- Its commands, the last first: a submission may repeat them whatever they are. -/
  commands : List Syntax

/-- Elaborates a spec: a file that states the theorem of the given name, with `sorry` for a proof. -/
def elabSpec (header : Header) (text : String) (name : Name) : IO (Except Said Spec) := do
  let input := inputOf text
  match ← importsOf input with
  | .error e => return .error e
  | .ok (imports, at_) =>
    let wanted : Wanted := { heartbeats := 0, quick := false, premises := false, exported := false }
    match ← runCommands .spec wanted input header at_ with
    | .refused rule => return .error (plain rule)
    | .errors said => match errorsAmong said with
      | e :: _ => return .error e
      | [] => return .error (plain "it does not elaborate")
    | .whole state done => match state.env.find? name with
      | some (.thmInfo info) =>
        if (header.state.env.find? name).isSome then return .error (plain s!"{name.toString false} is the library's")
        if info.type.hasSorry then return .error (plain s!"the statement of {name.toString false} holds sorry")
        return .ok
          { imports, commands := done.commands, trusted :=
            { header := header.text, text, name, type := info.type, levels := info.levelParams, origin := none,
              state := header.state, stated := state.env, inFile := true } }
      | _ => return .error (plain s!"it states no theorem {name.toString false}")

/-- Checks a whole file against its spec. -/
def checkFile (header : Header) (spec : Spec) (file : String) (wanted : Wanted) : IO Reply := do
  let input := inputOf file
  match ← importsOf input with
  | .error e => return { verdict := "rejected", reason := "it does not parse", messages := [e] }
  | .ok (imports, at_) => match missingFrom spec.imports imports with
    | some name => return { verdict := "cheated", reason := s!"it imports {name.toString false}, which the spec does not" }
    | none =>
      quickly wanted fun wanted => timed (runCommands (.submission spec.commands) wanted input header at_) fun
        | .refused rule => return { verdict := "cheated", reason := rule }
        | .errors said => judgeOr said (return { verdict := "rejected", reason := "it does not elaborate" })
        | .whole state done => judgeOr done.said (judge header spec.trusted state.env wanted)

/-- The imported constants among those that are mentioned. -/
def usedBy (base : Environment) (acc : NameSet) : List Name → NameSet
  | [] => acc
  | name :: rest => usedBy base (if (base.find? name).isSome then acc.insert name else acc) rest

/-- Stands for the name of a theorem where a report is to be on all that a file declares. -/
def everything : Name := `«*»

/-- Reports on a file with no spec: its errors, and the axioms of a theorem of it, or of everything. Whatever else it declares
is looked at too. Nothing says that this is what somebody wanted. -/
def reportFile (header : Header) (file : String) (name : Name) (wanted : Wanted) : IO Reply := do
  let input := inputOf file
  match ← importsOf input with
  | .error e => return { verdict := "rejected", reason := "it does not parse", messages := [e] }
  | .ok (_, at_) =>
    quickly wanted fun wanted => timed (runCommands .report wanted input header at_) fun
      | .refused rule => return { verdict := "cheated", reason := rule }
      | .errors said => judgeOr said (return { verdict := "rejected", reason := "it does not elaborate" })
      | .whole state done => do
        let all : Found := { env := state.env, names := declaredInNode [] state.env.constants.map₂.root }
        let reply ← if name == everything then reportOn header (all :: done.examples) []
          else match state.env.find? name with
          | some (.thmInfo _) => reportOn header [{ all with names := [name] }] (all :: done.examples)
          | _ => pure { verdict := "rejected", reason := s!"it holds no theorem {name.toString false}" }
        return { reply with messages := done.said }
where
  /-- The axioms of the first ones, if the kernel accepts them and the others. -/
  reportOn (header : Header) (first others : List Found) : IO Reply := do
    match ← restOn header {} first with
    | .error refusal => return refused refusal
    | .ok used =>
      let (allowed, _) ← axiomsOf header {} [] used.toList
      match ← restOn header used others with
      | .error refusal => return refused refusal
      | .ok used =>
        let (_, denied) ← axiomsOf header {} [] used.toList
        match denied with
        | [] => return { verdict := "unjudged", axioms := allowed.toList
                         reason := "no spec says what it should prove: it elaborates, and rests on the axioms given" }
        | other :: _ =>
          if memName `sorryAx denied then return { verdict := "incomplete", reason := "it uses sorry" }
          return { verdict := "cheated", reason := s!"axiom {other.toString false}" }
  /-- The imported constants that they rest on, if the kernel accepts them. -/
  restOn (header : Header) (used : NameSet) : List Found → IO (Except Refusal NameSet)
    | [] => return .ok used
    | found :: rest => do
      match ← replayAll found.env header.base { env := header.base.toKernelEnv, types := none } found.names with
      | .error refusal => return .error refusal
      | .ok acc => restOn header (joinAll used acc.used.toList) rest
  /-- What the kernel says of it. -/
  refused : Refusal → Reply
    | .kernel message => { verdict := "rejected", reason := message, byKernel := true }
    | .cheat rule => { verdict := "cheated", reason := rule }

/-! ## Strict checks: another process's declarations -/

/-- Adds declarations to the kernel's environment, in their order. -/
def addAll (acc : Replay) : List Declaration → IO (Except Refusal Replay)
  | [] => return .ok acc
  | declaration :: rest => do
    match ← addDeclaration acc declaration with
    | .ok acc => addAll acc rest
    | .error refusal => return .error refusal

/-- All constants that declarations mention. -/
def mentionedBy (acc : List Name) : List Declaration → List Name
  | [] => acc
  | .thmDecl v :: rest => mentionedBy (together (constantsOf (.thmInfo v)) acc) rest
  | .defnDecl v :: rest => mentionedBy (together (constantsOf (.defnInfo v)) acc) rest
  | .opaqueDecl v :: rest => mentionedBy (together (constantsOf (.opaqueInfo v)) acc) rest
  | .inductDecl _ _ types _ :: rest =>
    let (_, mentioned) := namesOfBlock types
    mentionedBy (together mentioned acc) rest
  | _ :: rest => mentionedBy acc rest

/-- Judges what another process exported, by this one's kernel. Nothing of the submission runs here. -/
def recheck (header : Header) (trusted : Trusted) (exported : Json) (wanted : Wanted) : IO Reply := do
  match importedFrom exported with
  | .error e => return { verdict := "rejected", reason := s!"the export cannot be read: {e}" }
  | .ok declarations =>
    let base := header.base
    let start : Replay := { env := base.toKernelEnv, types := none }
    match ← addAll start declarations with
    | .error (.kernel message) => return { verdict := "rejected", reason := message }
    | .error (.cheat rule) => return { verdict := "cheated", reason := rule }
    | .ok acc =>
      let used := usedBy base {} (mentionedBy [] declarations)
      accept header trusted { acc with used } wanted

/-! ## The loop -/

/-- Modules imported together. -/
structure Library where
  /-- Their names. -/
  modules : List Name
  /-- What came of it. -/
  env : Environment
  /-- See `Header`. -/
  searched : IO.Ref Bool

/-- Values by key. Hashes are in order, so it needs no balance. -/
inductive ByKey (α : Type) where
  | empty
  | node (key : Name) (value : α) (less more : ByKey α)

/-- The value of a key. -/
def ByKey.find? (key : Name) : ByKey α → Option α
  | .empty => none
  | .node k value less more => if k == key then some value else if key.quickLt k then less.find? key else more.find? key

/-- With a key that was not in it. -/
def ByKey.insert (key : Name) (value : α) : ByKey α → ByKey α
  | .empty => .node key value .empty .empty
  | .node k v less more =>
    if key.quickLt k then .node k v (less.insert key value) more else .node k v less (more.insert key value)

/-- What was made of texts. Where there is too much of it, what nobody asked for lately is forgotten. -/
structure Recent (α : Type) where
  /-- Asked for lately. -/
  young : ByKey α := .empty
  /-- How many those are. -/
  count : Nat := 0
  /-- Asked for before them. -/
  old : ByKey α := .empty

/-- The key of some texts. -/
def keyOf (key : Name) : List String → Name
  | [] => key
  | text :: rest => keyOf (.str key text) rest

/-- What was made of the key's texts. -/
def Recent.find? (recent : Recent α) (key : Name) : Option α :=
  match recent.young.find? key with
  | some found => some found
  | none => recent.old.find? key

/-- The same where something was asked for now. -/
def Recent.keep (recent : Recent α) (most : Nat) (key : Name) (value : α) : Recent α :=
  if (recent.young.find? key).isSome then recent
  else if recent.count < most then
    { recent with young := recent.young.insert key value, count := recent.count + 1 }
  else { young := ByKey.empty.insert key value, count := 1, old := recent.young }

/-- What the process keeps between jobs: nothing of a submission. -/
structure Memory where
  /-- May headers and specs run code? -/
  trusting : Bool
  /-- All that was imported, once each: Lean never gives back the memory of it. -/
  libraries : List Library := []
  /-- Headers by their text, or by the modules that a file imports. -/
  headers : Recent Header := {}
  /-- Statements by header, text and origin. -/
  statements : Recent Trusted := {}
  /-- Specs by their text and the theorem asked for. -/
  specs : Recent Spec := {}

/-- A statement that cannot be used, and why. -/
def bad (reason : String) (message : Said) : Reply := { verdict := "bad_statement", reason, messages := [message] }

/-- Modules, if they were imported together before. -/
def findLibrary (modules : List Name) : List Library → Option Library
  | [] => none
  | l :: rest => if l.modules == modules then some l else findLibrary modules rest

/-- What Lean is to import. -/
def importing (acc : Array Import) : List Name → Array Import
  | [] => acc
  | module :: rest => importing (acc.push { module }) rest

/-- Some modules, from memory or imported now. -/
def libraryFor (memory : Memory) (modules : List Name) : IO (Memory × Except Said Library) := do
  match findLibrary modules memory.libraries with
  | some library => return (memory, .ok library)
  | none =>
    try
      let env ← importModules (importing #[] modules) {} 0 #[] (loadExts := true)
      let library := { modules, env, searched := ← IO.mkRef false }
      return ({ memory with libraries := library :: memory.libraries }, .ok library)
    catch e => return (memory, .error (plain e.toString))

/-- Names as text. -/
def shownNames : List Name → List String
  | [] => []
  | name :: rest => name.toString false :: shownNames rest

/-- The header of a text or of a file's modules, from memory or made now: of what is imported, and the commands behind that. -/
def headerBy (memory : Memory) (text : Option String) (modules : List Name)
    (read : IO (Except Said (List Name × Parser.InputContext × Parser.ModuleParserState))) :
    IO (Memory × Except Said Header) := do
  let key := match text with
    | some text => keyOf `text [text]
    | none => keyOf `modules (shownNames modules)
  match memory.headers.find? key with
  | some header => return ({ memory with headers := memory.headers.keep 32 key header }, .ok header)
  | none => match ← read with
    | .error e => return (memory, .error e)
    | .ok (imports, input, at_) =>
      if !(memName `Init imports) then return (memory, .error (plain "a header behind `prelude`, without Init"))
      match ← libraryFor memory imports with
      | (memory, .error e) => return (memory, .error e)
      | (memory, .ok library) =>
        match ← makeHeader library.env modules library.searched memory.trusting text input at_ with
        | .error e => return (memory, .error e)
        | .ok header => return ({ memory with headers := memory.headers.keep 32 key header }, .ok header)

/-- The header that a text is: it is read where it is not known yet. -/
def headerFor (memory : Memory) (text : String) : IO (Memory × Except Said Header) :=
  headerBy memory (some text) [] do
    let input := inputOf text
    match ← importsOf input with
    | .error e => return .error e
    | .ok (imports, at_) => return .ok (imports, input, at_)

/-- The header that imports the modules of a file and does no more. Their names, which the file chose, are never read as text. -/
def headerOf (memory : Memory) (modules : List Name) : IO (Memory × Except Said Header) :=
  headerBy memory none modules (return .ok (modules, inputOf "", {}))

/-- The reply on a proof of a statement, and what to remember. -/
def answerProof (memory : Memory) (request : Json) (wanted : Wanted) : IO (Memory × Reply × Nat) := do
  let headerText := strField request "header" ""
  let statementText := strField request "statement" ""
  let begin_ ← IO.monoNanosNow
  match ← headerFor memory headerText with
  | (memory, .error e) => return (memory, bad "the header does not elaborate" e, 0)
  | (memory, .ok header) =>
    let originText := strField request "origin" ""
    let key := keyOf .anonymous [headerText, statementText, originText]
    let elaborated ← match memory.statements.find? key with
      | some t => pure (.ok t)
      | none => elabStatement header statementText (if originText == "" then none else some originText.toName)
    match elaborated with
    | .error e => return (memory, bad "the statement does not elaborate" e, (← IO.monoNanosNow) - begin_)
    | .ok trusted =>
      let memory := { memory with statements := memory.statements.keep 256 key trusted }
      let statementNs := (← IO.monoNanosNow) - begin_
      let reply ← match request.getObjVal? "exported" with
        | .ok exported => recheck header trusted exported wanted
        | .error _ =>
          let proof := strField request "proof" ""
          if proof == "" then pure { verdict := "rejected", reason := "the proof is empty" }
          else check header trusted proof wanted
      return (memory, reply, statementNs)

/-- The reply on a whole file (`proof`) against its spec (`statement`), and what to remember. -/
def answerFile (memory : Memory) (request : Json) (name : Name) (wanted : Wanted) :
    IO (Memory × Reply × Nat) := do
  let file := strField request "proof" ""
  let spec := strField request "statement" ""
  let begin_ ← IO.monoNanosNow
  match ← importsOf (inputOf (if spec == "" then file else spec)) with
  | .error e => return (memory, bad "its imports cannot be read" e, 0)
  | .ok (imports, _) => match ← headerOf memory imports with
    | (memory, .error e) => return (memory, bad "its imports do not elaborate" e, 0)
    | (memory, .ok header) =>
      if wanted.searches then beforeSearch header
      if spec == "" then return (memory, ← reportFile header file name wanted, 0)
      let key := keyOf name [spec]
      let elaborated ← match memory.specs.find? key with
        | some elaborated => pure (.ok elaborated)
        | none => elabSpec header spec name
      match elaborated with
      | .error e => return (memory, bad "the spec does not elaborate" e, (← IO.monoNanosNow) - begin_)
      | .ok elaborated =>
        let memory := { memory with specs := memory.specs.keep 32 key elaborated }
        let statementNs := (← IO.monoNanosNow) - begin_
        let reply ← match request.getObjVal? "exported" with
          | .ok exported => recheck header elaborated.trusted exported wanted
          | .error _ => checkFile header elaborated file wanted
        return (memory, reply, statementNs)

/-- The reply to one request, and what to remember. -/
def answer (memory : Memory) (request : Json) : IO (Memory × Reply × Nat) :=
  let wanted : Wanted :=
    { heartbeats := natField request "heartbeats" 200000, premises := boolField request "premises"
      exported := boolField request "export", quick := boolField request "quick"
      searches := boolField request "searches" }
  match strField request "theorem" "" with
  | "" => answerProof memory request wanted
  | "*" => answerFile memory request everything wanted
  | name => answerFile memory request name.toName wanted

/-- The first so many of a list. -/
def firstOf : Nat → List α → List α
  | 0, _ => []
  | _, [] => []
  | n + 1, x :: xs => x :: firstOf n xs

/-- The first fifty messages, and in front of them the first error where none of them is one. -/
def shown (said : List Said) : List Said :=
  let first := firstOf 50 said
  match errorsAmong first, errorsAmong said with
  | [], error :: _ => error :: first
  | _, _ => first

/-- A reply as JSON. -/
def replyJson (id : String) (reply : Reply) (statementNs : Nat) : Json :=
  Json.mkObj [("id", .str id), ("verdict", .str reply.verdict), ("reason", .str reply.reason),
    ("messages", listJson saidJson (shown reply.messages)), ("axioms", listJson nameJson reply.axioms),
    ("premises", row reply.premises), ("exported", reply.exported), ("heartbeats", .num reply.heartbeats),
    ("ns", .arr #[.num statementNs, .num reply.proofNs, .num reply.kernelNs])]

/-- Answers requests until the input ends. -/
partial def serve (input output : IO.FS.Stream) (nonce : String) (memory : Memory) : IO Unit := do
  let line ← input.getLine
  if line == "" then return
  let (memory, reply) ← match Json.parse line with
    | .error e => pure (memory, replyJson "" { verdict := "crashed", reason := s!"unreadable request: {e}" } 0)
    | .ok request => do
      let id := strField request "id" ""
      try
        let (memory, reply, statementNs) ← answer memory request
        pure (memory, replyJson id reply statementNs)
      catch e => pure (memory, replyJson id { verdict := "crashed", reason := clip e.toString } 0)
  output.putStr ("STP1 " ++ nonce ++ " " ++ reply.compress ++ "\n")
  output.flush
  serve input output nonce memory

end STP

/-- The first line of the input is the nonce that every reply carries, and whether to trust headers and specs; the bare
header is made before the first job. -/
public def main : IO Unit := do
  let input ← IO.getStdin
  let output ← IO.getStdout
  let line ← input.getLine
  let nonce := strNonce line
  let trusting := STP.hasPart " trusting".toList line.toList
  match ← STP.headerFor { trusting } "" with
  | (_, .error e) => output.putStr ("STP1 " ++ nonce ++ " {\"failed\":" ++ (Lean.Json.str e.text).compress ++ "}\n")
  | (memory, .ok _) => do
    output.putStr ("STP1 " ++ nonce ++ " {\"ready\":" ++ (Lean.Json.str Lean.versionString).compress ++ "}\n")
    output.flush
    -- On a thread of its own, whose stack `--tstack` sets: the embedded Lean's first thread has 64 KB.
    let served ← IO.asTask (STP.serve input output nonce memory)
    IO.ofExcept (← IO.wait served)
where
  /-- The line without its end. -/
  strNonce (line : String) : String :=
    STP.pushChars "" 32 line.toList
