/-
The persistent checker: reads one JSON request a line, writes one framed JSON reply a line.

The same file runs under native Lean and under the embedded one. The embedded library has public parts
only, so code here cannot mention library functions whose specialised bodies are private (`Array.map`,
`List.any`, `for … in`, …): hence the plain structural recursion.

A verdict rests on four things, all computed here and none printed by Lean: the submission parses to
exactly one theorem without forbidden syntax; the constant that it adds has the type and universe levels
of the statement elaborated apart; the kernel accepts that constant and all it needs in the *header's*
environment; its axioms are allowed. Messages are feedback for people.
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

/-- What a parser needs of a text. -/
def inputOf (text : String) : Parser.InputContext :=
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

/-- Runs one command in a state; the new state holds the command's messages only. -/
def runCommand (input : Parser.InputContext) (state : Elab.Command.State) (stx : Syntax) :
    IO Elab.Command.State := do
  let context : Elab.Command.Context :=
    { fileName := input.fileName, fileMap := input.fileMap, snap? := none, cancelTk? := none }
  let ref ← IO.mkRef { state with messages := {} }
  let outcome ← (Elab.Command.elabCommandTopLevel stx context ref).toBaseIO
  match outcome with
  | .ok _ => ref.get
  | .error e => do
    let data ← e.toMessageData.toString
    let after ← ref.get
    let message : Message :=
      { fileName := input.fileName, pos := ⟨1, 0⟩, severity := .error, data := .ofFormat data }
    return { after with messages := after.messages.add message }

/-- The texts of a message list, errors only or all. -/
def textsOf (errorsOnly : Bool) : List Message → IO (List String)
  | [] => return []
  | m :: rest => do
    let others ← textsOf errorsOnly rest
    match errorsOnly, m.severity with
    | true, .information => return others
    | true, .warning => return others
    | _, _ => do
      let text ← m.toString
      return clip text :: others

/-- The texts of the errors in a log. -/
def errorsOf (log : MessageLog) : IO (List String) :=
  textsOf true log.toList

/-! ## Headers -/

/-- Constants of a header whose axioms were followed and found allowed, and on which they rest. -/
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
  /-- The text that it was made from. -/
  text : String
  /-- Environment, scopes and options behind the header's last command. -/
  state : Elab.Command.State
  /-- Are the bodies of the library's theorems missing, so that they look like axioms? -/
  hidden : Bool
  /-- What is known of the axioms of its constants. -/
  known : IO.Ref Known
  /-- Statements of premises printed so far, by name: printing one takes longer than most checks. -/
  printed : IO.Ref Json

/-- Runs the commands of a header one after the other; an error ends it. -/
partial def runHeader (input : Parser.InputContext) (state : Elab.Command.State)
    (at_ : Parser.ModuleParserState) : IO (Except String Elab.Command.State) := do
  let (stx, next, log) := parseNext input state at_ {}
  let parseErrors ← errorsOf log
  match parseErrors with
  | e :: _ => return .error e
  | [] =>
    if stx.isOfKind ``Parser.Command.eoi then
      return .ok { state with messages := {} }
    let after ← runCommand input state stx
    let errors ← errorsOf after.messages
    match errors with
    | e :: _ => return .error e
    | [] => runHeader input after next

/-- Options that every job starts with. `debug.skipKernelTC` is on because the elaborator's own kernel
check proves nothing here: acceptance rests on the second one, in the header's environment. -/
def baseOptions : Options :=
  let o := KVMap.setBool {} `autoImplicit false
  let o := KVMap.setBool o `relaxedAutoImplicit false
  let o := KVMap.setBool o `Elab.async false
  let o := KVMap.setBool o `linter.all false
  let o := KVMap.setBool o `debug.skipKernelTC true
  o

/-- Imports and runs a header. -/
def makeHeader (text : String) : IO (Except String Header) := do
  let input := inputOf text
  let (headerStx, at_, log) ← Parser.parseHeader input
  let errors ← errorsOf log
  match errors with
  | e :: _ => return .error e
  | [] =>
    try
      let env ← importModules (Elab.headerToImports headerStx) {} 0 #[] (loadExts := true)
      let state := Elab.Command.mkState env {} baseOptions
      let state := { state with infoState := { state.infoState with enabled := false } }
      match ← runHeader input state at_ with
      | .error e => return .error e
      | .ok state =>
        let hidden := match env.find? `Nat.add_comm with
          | some (.axiomInfo _) => true
          | _ => false
        return .ok { text, state, hidden, known := ← IO.mkRef {}, printed := ← IO.mkRef (Json.mkObj []) }
    catch e => return .error e.toString

/-! ## Syntax of a submission -/

/-- Kinds that run code of the submission's own while it is elaborated, or change how things are
declared. -/
def forbiddenKinds : List String :=
  ["runTac", "byElab", "runElab", "runMeta", "nativeDecide", "unsafe", "attributes", "attrInstance",
   "elabStx", "declareSyntaxCat", "includeStr", "inheritDoc"]

/-- Kinds below `Lean.Parser.Command` that a theorem is made of; every other command kind is refused. -/
def theoremKinds : List String :=
  ["declaration", "declModifiers", "theorem", "declId", "declSig", "declBody", "declValSimple",
   "declValEqns", "whereStructInst", "docComment"]

/-- Options that a proof may set for a part of itself. -/
def allowedOptions : List Name := [`maxRecDepth]

/-- The last part of a name, and the name without it. -/
def splitLast : Name → Name × String
  | .str p s => (p, s)
  | n => (n, "")

mutual
/-- The first forbidden thing in a syntax tree. -/
partial def forbiddenIn (stx : Syntax) : Option String :=
  match stx with
  | .node _ kind args =>
    let (parent, last) := splitLast kind
    if memString last forbiddenKinds then some (kind.toString false)
    else if parent == `Lean.Parser.Command && !(memString last theoremKinds) then some (kind.toString false)
    else if last == "set_option" then
      match args.toList with
      | _ :: .ident _ _ name _ :: rest =>
        if memName name allowedOptions then forbiddenInList rest
        else some ("set_option " ++ name.toString false)
      | _ => some (kind.toString false)
    else forbiddenInList args.toList
  | _ => none

/-- The first forbidden thing in a list of syntax trees. -/
partial def forbiddenInList : List Syntax → Option String
  | [] => none
  | stx :: rest => match forbiddenIn stx with
    | some kind => some kind
    | none => forbiddenInList rest
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
  | unparsed (message : String)
  /-- It parses, to something that is refused. -/
  | refused (rule : String)

/-- Parses a text that must hold one theorem and nothing else. Nothing is run. -/
def parseSingle (input : Parser.InputContext) (state : Elab.Command.State) : IO Single := do
  let (stx, next, log) := parseNext input state {} {}
  let errors ← errorsOf log
  match errors with
  | e :: _ => return .unparsed e
  | [] =>
    let (after, _, _) := parseNext input state next {}
    if !(after.isOfKind ``Parser.Command.eoi) then
      return .refused "a second command behind the theorem"
    match theoremName stx with
    | none => return .refused "not a plain theorem"
    | some name => match forbiddenIn stx with
      | some kind => return .refused s!"forbidden syntax {kind}"
      | none => return .theorem stx name

/-! ## Statements -/

/-- A statement elaborated on its own: what the submission must prove. -/
structure Trusted where
  /-- Text of its header. -/
  header : String
  /-- Text of the statement. -/
  text : String
  /-- Full name that it declares. -/
  name : Name
  /-- The proposition. -/
  type : Expr
  /-- Its universe parameters. -/
  levels : List Name

/-- Elaborates a statement with `sorry` for a proof. -/
def elabStatement (header : Header) (text : String) : IO (Except String Trusted) := do
  let input := inputOf (text ++ " := sorry")
  match ← parseSingle input header.state with
  | .unparsed e => return .error e
  | .refused rule => return .error rule
  | .theorem stx name =>
    let full := (scopeOf header.state).currNamespace ++ name
    if (header.state.env.find? full).isSome then
      return .error s!"the name {full.toString false} is taken"
    let after ← runCommand input header.state stx
    let errors ← errorsOf after.messages
    match errors with
    | e :: _ => return .error e
    | [] => match after.env.find? full with
      | some (.thmInfo info) =>
        if info.type.hasSorry then return .error "the statement holds sorry"
        if info.type.hasMVar || info.type.hasFVar then return .error "the statement is not closed"
        return .ok { header := header.text, text, name := full, type := info.type, levels := info.levelParams }
      | _ => return .error "it declares no theorem"

/-! ## The kernel, once more -/

/-- The names of both lists, in no order. -/
def together (xs ys : List Name) : List Name :=
  match xs with
  | [] => ys
  | x :: rest => together rest (x :: ys)

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
  /-- The submission's constants that were met. -/
  added : NameSet
  /-- The header's constants that they mention. -/
  used : NameSet

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

mutual
/-- Adds a constant of the submission to the kernel environment, those that it needs first. -/
partial def replay (submitted base : Environment) (acc : Replay) (name : Name) :
    IO (Except Refusal Replay) := do
  if acc.added.contains name then return .ok acc
  if (base.find? name).isSome then
    return .ok { acc with used := acc.used.insert name }
  match submitted.find? name with
  | none => return .error (.kernel s!"unknown constant {name.toString false}")
  | some info =>
    match ← replayAll submitted base { acc with added := acc.added.insert name } (constantsOf info) with
    | .error refusal => return .error refusal
    | .ok acc => match declarationOf name info with
      | .error refusal => return .error refusal
      | .ok declaration => match Kernel.Environment.addDecl acc.env {} declaration with
        | .ok env => return .ok { acc with env }
        | .error e => do
          let text ← (e.toMessageData {}).toString
          return .error (.kernel (clip text))

/-- Adds a list of constants. -/
partial def replayAll (submitted base : Environment) (acc : Replay) :
    List Name → IO (Except Refusal Replay)
  | [] => return .ok acc
  | name :: rest => do
    match ← replay submitted base acc name with
    | .ok acc => replayAll submitted base acc rest
    | .error refusal => return .error refusal
end

/-! ## Axioms -/

/-- The axioms that a proof may rest on. -/
def allowedAxioms : List Name := [`propext, `Classical.choice, `Quot.sound]

/-- Real axioms of the library. Where the bodies of its theorems are hidden they look like axioms too;
there, what was imported counts as a theorem but for these. -/
def realAxioms : List Name :=
  [`sorryAx, `Lean.ofReduceBool, `Lean.ofReduceNat, `Lean.trustCompiler, `lcProof, `lcUnreachable,
   `lcAny, `lcVoid, `lcErased]

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

/-- Follows constants of the header to their axioms; the list holds what is still to follow. -/
partial def axiomsBelow (header : Header) (known : Known) (acc : Axioms) : List Name → Axioms
  | [] => acc
  | name :: rest =>
    if acc.seen.contains name then axiomsBelow header known acc rest
    else
      let acc := { acc with seen := acc.seen.insert name }
      if known.followed.contains name then
        axiomsBelow header known { acc with allowed := knownAxioms known name acc.allowed } rest
      else match header.state.env.find? name with
      | none => axiomsBelow header known { acc with denied := name :: acc.denied } rest
      | some info => match info with
        | .axiomInfo v =>
          if memName name allowedAxioms then
            axiomsBelow header known { acc with allowed := acc.allowed.insert name } rest
          else if header.hidden && (header.state.env.getModuleIdxFor? name).isSome
              && !(memName name realAxioms) && !v.isUnsafe then
            axiomsBelow header known acc (together (constantsOf info) rest)
          else axiomsBelow header known { acc with denied := name :: acc.denied } rest
        | _ => axiomsBelow header known acc (together (constantsOf info) rest)

/-- The axioms of constants of the header. What a constant rests on is found once in the process's life:
these constants never change, a submission's own are never among them. -/
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
where
  /-- Adds names to a set. -/
  joinAll (set : NameSet) : List Name → NameSet
    | [] => set
    | n :: ns => joinAll (set.insert n) ns

/-! ## Premises -/

/-- The declaration that an auxiliary constant was made for: `foo._simp_1` and `foo.match_1` give `foo`. -/
partial def ownerOf (name : Name) : Name :=
  if name.isInternal then ownerOf name.getPrefix else name

/-- Runs a question about a header's environment. -/
def ask (header : Header) (question : MetaM α) : IO (Option α) := do
  let context : Core.Context := { fileName := "<question>", fileMap := FileMap.ofString "" }
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
  messages : List String := []
  /-- Allowed axioms that the proof rests on. -/
  axioms : List Name := []
  /-- Premises, when asked for. -/
  premises : List Json := []
  /-- Heartbeats spent on the submission, in thousands. -/
  heartbeats : Nat := 0
  /-- Nanoseconds: the submission's elaboration, and the kernel's check with the walk to the axioms. -/
  proofNs : Nat := 0
  /-- See `proofNs`. -/
  kernelNs : Nat := 0

/-- The state with the budget of one job. -/
def withBudget (state : Elab.Command.State) (heartbeats : Nat) : Elab.Command.State :=
  match state.scopes with
  | scope :: rest =>
    { state with scopes := { scope with opts := KVMap.setNat scope.opts `maxHeartbeats heartbeats } :: rest }
  | [] => state

/-- Whether an error says that the heartbeats ran out. -/
def saysTimeout : List String → Bool
  | [] => false
  | e :: rest => if hasPart "(deterministic) timeout".toList e.toList then true else saysTimeout rest

/-- Steps 4 to 6: the constant is a theorem of the trusted type, the kernel accepts it in the header's
environment, and its axioms are allowed. -/
def judge (header : Header) (trusted : Trusted) (submitted : Environment) (origin : Option Name)
    (wantPremises : Bool) : IO Reply := do
  match submitted.find? trusted.name with
  | some (.thmInfo info) =>
    if info.type != trusted.type then return { verdict := "cheated", reason := "it proves another statement" }
    if info.levelParams != trusted.levels then
      return { verdict := "cheated", reason := "its universe levels differ" }
    let base := header.state.env
    let start : Replay := { env := base.toKernelEnv, added := {}, used := {} }
    match ← replay submitted base start trusted.name with
    | .error (.kernel message) => return { verdict := "rejected", reason := message }
    | .error (.cheat rule) => return { verdict := "cheated", reason := rule }
    | .ok acc =>
      let used := acc.used.toList
      let (allowed, denied) ← axiomsOf header {} [] used
      match denied with
      | other :: _ =>
        if memName `sorryAx denied then return { verdict := "incomplete", reason := "it uses sorry" }
        return { verdict := "cheated", reason := s!"axiom {other.toString false}" }
      | [] =>
        let givenAwayBy := match origin with
          | some o => givenAway header trusted o used
          | none => none
        match givenAwayBy with
        | some name => return { verdict := "rejected", reason := s!"uses {name.toString false}, which gives the statement away" }
        | none =>
          let premises ← if wantPremises then premisesOf header [] {} used else pure []
          return { verdict := "proved", axioms := allowed.toList, premises }
  | _ => return { verdict := "rejected", reason := "it adds no theorem of that name" }

/-- Checks one proof of a statement. -/
def check (header : Header) (trusted : Trusted) (proof : String) (origin : Option Name)
    (heartbeats : Nat) (wantPremises : Bool) : IO Reply := do
  let input := inputOf (trusted.text ++ " := " ++ proof)
  match ← parseSingle input header.state with
  | .unparsed e => return { verdict := "rejected", reason := "it does not parse", messages := [e] }
  | .refused rule => return { verdict := "cheated", reason := rule }
  | .theorem stx _ =>
    let beats ← IO.getNumHeartbeats
    let begin_ ← IO.monoNanosNow
    let after ← runCommand input (withBudget header.state heartbeats) stx
    let elaborated ← IO.monoNanosNow
    let spent := ((← IO.getNumHeartbeats) - beats) / 1000
    let errors ← errorsOf after.messages
    let reply ← match errors with
      | _ :: _ =>
        if saysTimeout errors then pure { verdict := "timed_out", reason := "heartbeats ran out", messages := errors }
        else pure { verdict := "rejected", reason := "Lean reports an error", messages := errors }
      | [] => judge header trusted after.env origin wantPremises
    let done ← IO.monoNanosNow
    return { reply with heartbeats := spent, proofNs := elaborated - begin_, kernelNs := done - elaborated }

/-! ## The loop -/

/-- What the process keeps between jobs: nothing of a submission. -/
structure Memory where
  /-- Headers, latest first. -/
  headers : List Header := []
  /-- Statements, latest first. -/
  statements : List Trusted := []

/-- The first so many of a list. -/
def firstOf : Nat → List α → List α
  | 0, _ => []
  | _, [] => []
  | n + 1, x :: xs => x :: firstOf n xs

/-- A header by its text. -/
def findHeader (text : String) : List Header → Option Header
  | [] => none
  | h :: rest => if h.text == text then some h else findHeader text rest

/-- A statement by header and text. -/
def findStatement (header text : String) : List Trusted → Option Trusted
  | [] => none
  | t :: rest => if t.text == text && t.header == header then some t else findStatement header text rest

/-- The reply to one request, and what to remember. -/
def answer (memory : Memory) (request : Json) : IO (Memory × Reply × Nat) := do
  let headerText := strField request "header" ""
  let statementText := strField request "statement" ""
  let begin_ ← IO.monoNanosNow
  let bad (reason message : String) : Reply := { verdict := "bad_statement", reason, messages := [message] }
  let made ← match findHeader headerText memory.headers with
    | some h => pure (.ok h)
    | none => makeHeader headerText
  match made with
  | .error e => return (memory, bad "the header does not elaborate" e, 0)
  | .ok header =>
    let memory := match findHeader headerText memory.headers with
      | some _ => memory
      | none => { memory with headers := firstOf 4 (header :: memory.headers) }
    let elaborated ← match findStatement headerText statementText memory.statements with
      | some t => pure (.ok t)
      | none => elabStatement header statementText
    match elaborated with
    | .error e => return (memory, bad "the statement does not elaborate" e, (← IO.monoNanosNow) - begin_)
    | .ok trusted =>
      let memory := match findStatement headerText statementText memory.statements with
        | some _ => memory
        | none => { memory with statements := firstOf 8 (trusted :: memory.statements) }
      let statementNs := (← IO.monoNanosNow) - begin_
      let origin := match strField request "origin" "" with
        | "" => none
        | name => some name.toName
      let proof := strField request "proof" ""
      let reply ←
        if proof == "" then pure { verdict := "rejected", reason := "the proof is empty" }
        else check header trusted proof origin (natField request "heartbeats" 200000) (boolField request "premises")
      return (memory, reply, statementNs)

/-- A reply as JSON. -/
def replyJson (id : String) (reply : Reply) (statementNs : Nat) : Json :=
  Json.mkObj [("id", .str id), ("verdict", .str reply.verdict), ("reason", .str reply.reason),
    ("messages", listJson (fun s => .str s) reply.messages), ("axioms", listJson nameJson reply.axioms),
    ("premises", listJson (fun j => j) reply.premises), ("heartbeats", .num reply.heartbeats),
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

/-- The first line of the input is the nonce that every reply carries; the bare header is made before
the first job. -/
public def main : IO Unit := do
  let input ← IO.getStdin
  let output ← IO.getStdout
  let line ← input.getLine
  let nonce := strNonce line
  match ← STP.makeHeader "" with
  | .error e => output.putStr ("STP1 " ++ nonce ++ " {\"failed\":" ++ (Lean.Json.str e).compress ++ "}\n")
  | .ok header => do
    output.putStr ("STP1 " ++ nonce ++ " {\"ready\":" ++ (Lean.Json.str Lean.versionString).compress ++ "}\n")
    output.flush
    STP.serve input output nonce { headers := [header] }
where
  /-- The line without its end. -/
  strNonce (line : String) : String :=
    STP.pushChars "" 32 line.toList
