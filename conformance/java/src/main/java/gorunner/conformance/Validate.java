package gorunner.conformance;

import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Enumeration;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.beam.sdk.testing.ValidatesRunner;
import org.junit.Ignore;
import org.junit.experimental.categories.Category;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.Result;
import org.junit.runner.manipulation.Filter;
import org.junit.runner.notification.Failure;

/**
 * Runs the tests of Beam's Java SDK that are marked as validating a runner, none left out.
 *
 * <p>Usage: {@code Validate OUTCOMES SECONDS [REGEX]}, with the pipeline options in the system
 * property {@code beamTestPipelineOptions} as Beam's {@code TestPipeline} takes them. Appends a JSON
 * line to the file OUTCOMES as a test begins and one as it ends, in the form that the plugin for
 * pytest has, and does not run what the file says to have begun. A test that takes longer than
 * SECONDS has failed; the process then exits with {@link #HANGS}, because nothing ends the test's
 * threads, and is to be started again. REGEX selects tests by name.
 */
public final class Validate {
  /** The exit code after a test that did not end. */
  static final int HANGS = 3;

  private static final Pattern ID = Pattern.compile("\"id\": \"([^\"]*)\"");

  public static void main(String[] args) throws Exception {
    Path outcomes = Path.of(args[0]);
    long seconds = Long.parseLong(args[1]);
    Pattern wanted = Pattern.compile(args.length > 2 ? args[2] : "");
    Set<String> begun = new HashSet<>();
    if (Files.exists(outcomes)) {
      Matcher m = ID.matcher(Files.readString(outcomes));
      while (m.find()) {
        begun.add(m.group(1));
      }
    }
    for (String name : testClasses()) {
      // Not initialized: some classes of the archive need what is not there.
      Class<?> c;
      try {
        c = Class.forName(name, false, Validate.class.getClassLoader());
      } catch (LinkageError e) {
        System.err.println("cannot load " + name + ": " + e);
        continue;
      }
      for (Method m : methods(c)) {
        String id = c.getName() + "." + m.getName();
        if (validates(c, m) && wanted.matcher(id).find() && begun.add(id)) {
          run(outcomes, id, c, m, seconds);
        }
      }
    }
    // Clients leave threads behind.
    System.exit(0);
  }

  /** The names of the classes in the archive of the SDK's tests. */
  private static List<String> testClasses() throws Exception {
    Path jar =
        Path.of(
            Class.forName("org.apache.beam.sdk.PipelineTest", false, Validate.class.getClassLoader())
                .getProtectionDomain().getCodeSource().getLocation().toURI());
    Set<String> names = new TreeSet<>();
    try (JarFile file = new JarFile(jar.toFile())) {
      for (Enumeration<JarEntry> all = file.entries(); all.hasMoreElements(); ) {
        String name = all.nextElement().getName();
        if (name.startsWith("org/apache/beam/sdk/") && name.endsWith(".class")) {
          names.add(name.substring(0, name.length() - ".class".length()).replace('/', '.'));
        }
      }
    }
    return new ArrayList<>(names);
  }

  /** The test methods of a class that JUnit would run, in the order of their names. */
  private static List<Method> methods(Class<?> c) {
    List<Method> tests = new ArrayList<>();
    if (java.lang.reflect.Modifier.isAbstract(c.getModifiers())) {
      return tests;
    }
    try {
      for (Method m : c.getMethods()) {
        if (m.isAnnotationPresent(org.junit.Test.class)) {
          tests.add(m);
        }
      }
    } catch (LinkageError e) {
      System.err.println("cannot look at " + c + ": " + e);
    }
    tests.sort((a, b) -> a.getName().compareTo(b.getName()));
    return tests;
  }

  private static boolean validates(Class<?> c, Method m) {
    for (Category category : new Category[] {m.getAnnotation(Category.class), c.getAnnotation(Category.class)}) {
      if (category == null) {
        continue;
      }
      for (Class<?> kind : category.value()) {
        if (ValidatesRunner.class.isAssignableFrom(kind)) {
          return true;
        }
      }
    }
    return false;
  }

  private static void run(Path outcomes, String id, Class<?> c, Method m, long seconds) throws Exception {
    append(outcomes, id, "start", "", 0);
    if (c.isAnnotationPresent(Ignore.class) || m.isAnnotationPresent(Ignore.class)) {
      append(outcomes, id, "skip", "ignored by Beam", 0);
      return;
    }
    long begin = System.nanoTime();
    Result[] result = new Result[1];
    Filter only =
        new Filter() {
          @Override
          public boolean shouldRun(Description d) {
            if (d.isTest()) {
              String name = d.getMethodName();
              // A parameterized test has its parameters behind its name.
              return name != null && (name.equals(m.getName()) || name.startsWith(m.getName() + "["));
            }
            return d.getChildren().stream().anyMatch(this::shouldRun);
          }

          @Override
          public String describe() {
            return id;
          }
        };
    Thread thread = new Thread(() -> result[0] = new JUnitCore().run(Request.aClass(c).filterWith(only)));
    thread.setDaemon(true);
    thread.start();
    thread.join(seconds * 1000);
    double took = (System.nanoTime() - begin) / 1e9;
    if (result[0] == null) {
      append(outcomes, id, "fail", "did not end within " + seconds + " s", took);
      Runtime.getRuntime().halt(HANGS);
    }
    if (result[0].getFailureCount() > 0) {
      append(outcomes, id, "fail", describe(result[0].getFailures().get(0)), took);
    } else if (result[0].getRunCount() == 0 || result[0].getAssumptionFailureCount() > 0) {
      append(outcomes, id, "skip", "skipped by itself", took);
    } else {
      append(outcomes, id, "pass", "", took);
    }
  }

  /** The line of a failure that tells most: its innermost cause. */
  private static String describe(Failure f) {
    Throwable t = f.getException();
    while (t.getCause() != null && t.getCause() != t) {
      t = t.getCause();
    }
    System.err.println(f.getTrace());
    return t.toString();
  }

  private static void append(Path file, String id, String outcome, String reason, double seconds)
      throws IOException {
    String name = id.substring(id.lastIndexOf('.', id.lastIndexOf('.') - 1) + 1);
    String line =
        String.format(
            "{\"id\": \"%s\", \"name\": \"%s\", \"outcome\": \"%s\", \"reason\": \"%s\", \"seconds\": %.2f}%n",
            id, name, outcome, escape(reason), seconds);
    Files.write(
        file, line.getBytes(StandardCharsets.UTF_8), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
  }

  private static String escape(String text) {
    StringBuilder b = new StringBuilder();
    for (char c : text.substring(0, Math.min(text.length(), 1000)).toCharArray()) {
      if (c == '"' || c == '\\') {
        b.append('\\').append(c);
      } else {
        b.append(c < ' ' ? ' ' : c);
      }
    }
    return b.toString();
  }

  private Validate() {}
}
