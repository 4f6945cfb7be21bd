package gorunner;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.apache.beam.model.pipeline.v1.RunnerApi;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.options.PortablePipelineOptions;
import org.apache.beam.sdk.testing.CrashingRunner;
import org.apache.beam.sdk.util.construction.Environments;
import org.apache.beam.sdk.util.construction.PipelineTranslation;
import org.apache.beam.sdk.util.construction.SdkComponents;
import org.apache.beam.vendor.grpc.v1p69p0.com.google.protobuf.CodedOutputStream;

/**
 * Writes the Java SDK's pipeline protos that the translator is tested with, as {@code
 * java_<name>.pb}: what the SDK's PortableRunner with LOOPBACK workers would send to Prepare, less
 * the jars of the class path.
 */
public final class Generate {
  /** The address that stands for the client's own worker pool. */
  private static final String WORKER_POOL = "localhost:50000";

  private static final String PROCESS_CONFIG =
      "{\"command\":\"/opt/worker/boot\",\"env\":{\"TZ\":\"UTC\"}}";

  private Generate() {}

  public static void main(String[] args) throws Exception {
    Path out = Path.of(System.getProperty("out", "../../pipelines"));
    for (Map.Entry<String, Consumer<Pipeline>> entry : Corpus.pipelines().entrySet()) {
      if (args.length == 0 || List.of(args).contains(entry.getKey())) {
        write(out, entry.getKey(), entry.getValue());
      }
    }
  }

  private static void write(Path out, String name, Consumer<Pipeline> build) throws Exception {
    PortablePipelineOptions options =
        PipelineOptionsFactory.create().as(PortablePipelineOptions.class);
    options.setJobName(name);
    options.setRunner(CrashingRunner.class);
    options.setFilesToStage(List.of());
    if (name.equals("env_process")) {
      options.setDefaultEnvironmentType(Environments.ENVIRONMENT_PROCESS);
      options.setDefaultEnvironmentConfig(PROCESS_CONFIG);
    } else {
      options.setDefaultEnvironmentType(Environments.ENVIRONMENT_LOOPBACK);
      options.setDefaultEnvironmentConfig(WORKER_POOL);
    }
    Pipeline pipeline = Pipeline.create(options);
    build.accept(pipeline);
    RunnerApi.Pipeline proto =
        canonicalize(PipelineTranslation.toProto(pipeline, SdkComponents.create(options)));
    try (OutputStream file = Files.newOutputStream(out.resolve("java_" + name + ".pb"))) {
      CodedOutputStream coded = CodedOutputStream.newInstance(file);
      coded.useDeterministicSerialization();
      proto.writeTo(coded);
      coded.flush();
    }
  }

  /** Sorts the display data, whose order the SDK takes from identity hashes. */
  private static RunnerApi.Pipeline canonicalize(RunnerApi.Pipeline proto) {
    RunnerApi.Pipeline.Builder pipeline = proto.toBuilder();
    RunnerApi.Components.Builder components = pipeline.getComponentsBuilder();
    proto
        .getComponents()
        .getTransformsMap()
        .forEach(
            (id, transform) -> {
              List<RunnerApi.DisplayData> sorted = new ArrayList<>(transform.getDisplayDataList());
              sorted.sort(Comparator.comparing(data -> data.getPayload().toString(ISO_8859_1)));
              components.putTransforms(
                  id,
                  transform.toBuilder().clearDisplayData().addAllDisplayData(sorted).build());
            });
    return pipeline.build();
  }
}
