// Run a declarative Jenkinsfile as Jenkins does: groovy jenkins.groovy Jenkinsfile RUN.json
// It knows what the Jenkinsfile uses and refuses the rest. RUN.json says what triggers the run, on which branch and commit
// of which repository, which credentials there are, and who approves; the results go to RUN.json.done.
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import java.nio.file.FileSystems
import java.nio.file.Files

class Refused extends RuntimeException { Refused(String what) { super(what) } }
class Failed extends RuntimeException { Failed(String what) { super(what) } }

class Block { // a directive's block, in which only some words are known
  static run(Closure body, Object words) {
    body = body.clone()
    body.delegate = words
    body.resolveStrategy = Closure.DELEGATE_ONLY
    try {
      return body()
    } catch (MissingMethodException error) {
      throw new Refused("unknown ${error.method} in ${words.class.simpleName.toLowerCase()}")
    } catch (MissingPropertyException error) {
      throw new Refused("unknown ${error.property} in ${words.class.simpleName.toLowerCase()}")
    }
  }
}

class Environment {
  Map values = [:], known
  void setProperty(String name, Object value) { values[name] = value }
  String credentials(String id) {
    if (!known.containsKey(id)) throw new Refused("Could not find credentials entry with ID '$id'")
    known[id]
  }
}

class When {
  Map run
  boolean holds = true, beforeAgent = false, beforeInput = false
  void beforeAgent(boolean value) { beforeAgent = value }
  void beforeInput(boolean value) { beforeInput = value }
  void branch(String name) { holds &= run.branch == name }
  void triggeredBy(String cause) {
    if (cause != 'TimerTrigger') throw new Refused("unknown cause $cause")
    holds &= run.event == 'schedule'
  }
  void not(Closure body) {
    def inner = new When(run: run)
    Block.run(body, inner)
    holds &= !inner.holds
  }
}

class Options {
  List locks = []
  boolean limited = false
  void timeout(Map given) {
    if (!(given.unit in ['MINUTES', 'HOURS', 'DAYS'])) throw new Refused("unknown unit ${given.unit}")
    limited = true
  }
  void lock(String name) { locks << name }
  void buildDiscarder(Object value) { }
  Object logRotator(Map given) { given }
}

class Input {
  Map given = [:]
  void message(String text) { given.message = text }
  void ok(String text) { given.ok = text }
  void submitter(String text) { given.submitter = text }
}

class Agent {
  String name
  void label(String value) { name = value }
}

class Steps {
  Map run, environment
  File folder
  StringBuilder said
  Script script
  def methodMissing(String name, Object given) { // a function of the Jenkinsfile: its steps are these
    if (!script.metaClass.respondsTo(script, name, *given)) throw new MissingMethodException(name, Steps, given)
    ['sh', 'unstash'].each { script.binding.setVariable(it, this.&"$it") }
    script.invokeMethod(name, given)
  }
  void sh(String script) {
    def builder = new ProcessBuilder(['sh', '-xe', '-c', script]).directory(folder).redirectErrorStream(true)
    builder.environment().clear()
    builder.environment().putAll((run.base + environment).collectEntries { [(it.key): it.value.toString()] })
    def process = builder.start()
    process.outputStream.close()
    said << process.inputStream.getText('UTF-8')
    if (process.waitFor() != 0) throw new Failed('script returned exit code ' + process.exitValue())
  }
  private List find(String patterns) {
    patterns.split(',').collectMany { pattern ->
      def matcher = FileSystems.default.getPathMatcher("glob:$pattern")
      def found = []
      folder.eachFileRecurse { if (it.file && matcher.matches(folder.toPath().relativize(it.toPath()))) found << it }
      found
    }
  }
  void junit(String patterns) {
    if (!find(patterns)) throw new Failed('No test report files were found. Configuration error?')
  }
  void archiveArtifacts(Map given) {
    def found = find(given.artifacts)
    if (!found && !given.allowEmptyArchive) throw new Failed("No artifacts found that match ${given.artifacts}")
    found.each { run.artifacts << it.name }
  }
  void stash(Map given) {
    def found = find(given.includes)
    if (!found) throw new Failed("No files included in stash '${given.name}'")
    run.stashes[given.name] = found.collectEntries { [(folder.toPath().relativize(it.toPath()).toString()): it.bytes] }
  }
  void unstash(String name) {
    if (!run.stashes.containsKey(name)) throw new Failed("No such saved stash '$name'")
    run.stashes[name].each { path, bytes ->
      new File(folder, path).parentFile.mkdirs()
      new File(folder, path).bytes = bytes
    }
  }
  Map gitUsernamePassword(Map given) {
    if (given.credentialsId != 'GIT_PUSH') throw new Refused("Could not find credentials entry with ID '${given.credentialsId}'")
    [:]
  }
  void withCredentials(List bound, Closure body) { Block.run(body, this) }
  void lock(String name, Closure body) { Block.run(body, this) }
}

class Post {
  List bodies = []
  void always(Closure body) { bodies << body }
}

class Stages {
  List found = []
  void stage(String name, Closure body) {
    def one = new Stage(name: name)
    Block.run(body, one)
    if (!one.steps && !one.inner) throw new Refused("stage $name has neither steps nor stages")
    found << one
  }
}

class Stage {
  String name
  Closure agent, when, options, environment, input, steps, post
  List inner
  boolean side = false // its inner stages run side by side
  void agent(Closure body) { agent = body }
  void when(Closure body) { when = body }
  void options(Closure body) { options = body }
  void environment(Closure body) { environment = body }
  void input(Closure body) { input = body }
  void steps(Closure body) { steps = body }
  void post(Closure body) { post = body }
  void stages(Closure body) { def all = new Stages(); Block.run(body, all); inner = all.found }
  void parallel(Closure body) { stages(body); side = true }
}

class Pipeline {
  Map run
  Closure environment, stages, triggers, options
  boolean hasAgent = false
  void agent(Object none) { if (none != 'none') throw new Refused("unknown agent $none"); hasAgent = true }
  void triggers(Closure body) { triggers = body }
  void options(Closure body) { options = body }
  void environment(Closure body) { environment = body }
  void stages(Closure body) { stages = body }
  String getNone() { 'none' }
}

class Triggers {
  Map env
  String spec
  void cron(String value) { spec = value }
}

class Runner {
  Map run
  Script script
  int workspaces = 0
  boolean stopped = false

  File checkout() {
    def folder = new File(run.scratch, "workspace${++workspaces}")
    [['git', 'clone', '--quiet', run.origin, folder.path],
     ['git', '-C', folder.path, 'checkout', '--quiet', '--detach', run.commit]].each {
      def process = it.execute()
      if (process.waitFor()) throw new Refused(process.err.text)
    }
    folder
  }

  def skip(Stage one) {
    run.results[one.name] = 'skipped'
    one.inner?.each { skip(it) }
  }

  def execute(Stage one, Map environment, File folder) {
    if (stopped) return skip(one)
    def condition = new When(run: run)
    if (one.when) Block.run(one.when, condition)
    if (one.input && !condition.beforeInput && one.when) throw new Refused("stage ${one.name} asks a person before its condition")
    if (!condition.holds) return skip(one)
    def options = new Options()
    if (one.options) Block.run(one.options, options)
    if (one.steps && !options.limited) throw new Refused("stage ${one.name} has no timeout")
    if (one.input) {
      def asked = new Input()
      Block.run(one.input, asked)
      if (!asked.given.submitter) throw new Refused("stage ${one.name}: anybody may approve")
      if (!(one.name in run.approved)) { run.results[one.name] = 'waiting'; stopped = true; return null }
    }
    if (one.agent) {
      def agent = new Agent()
      Block.run(one.agent, agent)
      if (agent.name != 'mlops') throw new Refused("no agent has the label ${agent.name}")
      folder = checkout()
    }
    def own = new Environment(known: run.credentials)
    if (one.environment) Block.run(one.environment, own)
    environment = environment + own.values + [STAGE_NAME: one.name]
    if (one.inner) {
      one.inner.each { if (one.side) stopped = false; execute(it, environment, folder) }
      def worst = one.inner.collect { run.results[it.name] }
      run.results[one.name] = worst.contains('failure') ? 'failure' : 'success'
      stopped |= worst.contains('failure')
      return null
    }
    if (folder == null) throw new Refused("stage ${one.name} has no agent")
    def said = new StringBuilder()
    def words = new Steps(run: run, environment: environment, folder: folder, said: said, script: script)
    run.results[one.name] = 'success'
    def attempt = { Closure body ->
      try { Block.run(body, words) } catch (Failed error) { said << error.message << '\n'; run.results[one.name] = 'failure' }
    }
    attempt(one.steps)
    if (one.post) {
      def post = new Post()
      Block.run(one.post, post)
      post.bodies.each { attempt(it) }
    }
    run.said[one.name] = said.toString()
    stopped |= run.results[one.name] == 'failure'
  }
}

abstract class Declarative extends Script {
  void pipeline(Closure body) {
    def run = binding.getVariable('run')
    def all = new Pipeline(run: run)
    Block.run(body, all)
    if (!all.hasAgent) throw new Refused('pipeline has no agent')
    def triggers = new Triggers(env: [BRANCH_NAME: run.branch])
    Block.run(all.triggers, triggers)
    if (run.event == 'schedule' && !triggers.spec) throw new Refused("cron: branch ${run.branch} has no schedule")
    if (all.options) Block.run(all.options, new Options())
    def environment = new Environment(known: run.credentials)
    Block.run(all.environment, environment)
    def stages = new Stages()
    Block.run(all.stages, stages)
    def runner = new Runner(run: run, script: this)
    stages.found.each { runner.execute(it, environment.values, null) }
  }
}

def run = new JsonSlurper().parse(new File(args[1])) as Map
run += [results: [:], said: [:], artifacts: [], stashes: [:]]
def configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: Declarative.name)
def binding = new Binding(run: run)
try {
  new GroovyShell(this.class.classLoader, binding, configuration).evaluate(new File(args[0]))
} catch (Refused error) {
  System.err.println("refused: ${error.message}")
  System.exit(3)
} catch (org.codehaus.groovy.control.CompilationFailedException error) {
  System.err.println("refused: ${error.message}")
  System.exit(3)
} catch (MissingMethodException error) {
  System.err.println("refused: unknown ${error.method}")
  System.exit(3)
}
new File(args[1] + '.done').text = JsonOutput.toJson(run.subMap(['results', 'said', 'artifacts']))
